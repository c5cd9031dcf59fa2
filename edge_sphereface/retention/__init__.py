"""Retention and erasure: how long files with faces and names are kept, and how one person is removed from them."""

from edge_sphereface.retention.expiry import Expired, expire_event_file, expire_files
from edge_sphereface.retention.folder_index import INDEX_NAME, UNKNOWN, EventAges, FolderIndex, HeldFile
from edge_sphereface.retention.limits import RetentionLimits, duration
from edge_sphereface.retention.moment import Moment, read_moment

__all__ = [
    "INDEX_NAME",
    "UNKNOWN",
    "EventAges",
    "Expired",
    "FolderIndex",
    "HeldFile",
    "Moment",
    "RetentionLimits",
    "duration",
    "expire_event_file",
    "expire_files",
    "read_moment",
]
