"""The audit: who was enrolled, removed, looked up or expired, by whom, in a file that shows every change made to it."""

from edge_sphereface.audit.check import AuditCheck, Head, check_audit, read_entries, read_pseudonym
from edge_sphereface.audit.entry import AuditEntry
from edge_sphereface.audit.log import AuditLog

__all__ = ["AuditCheck", "AuditEntry", "AuditLog", "Head", "check_audit", "read_entries", "read_pseudonym"]
