"""The audit: who was enrolled, removed, looked up or expired, by whom, in a file that shows every change made to it."""

from edge_sphereface.audit.check import AuditCheck, Head, check_audit, read_entries
from edge_sphereface.audit.entry import AuditEntry
from edge_sphereface.audit.log import AUDIT_VARIABLE, AuditLog

__all__ = ["AUDIT_VARIABLE", "AuditCheck", "AuditEntry", "AuditLog", "Head", "check_audit", "read_entries"]
