"""Galleries store enrolled identities and identify faces.

.. code-block:: text

    Gallery                      the interface of every gallery
    ├── sqlite.SqliteGallery     one file on the device, exact search over a memory-mapped matrix
    └── milvus.MilvusGallery     Milvus Lite in a folder, or a Milvus cluster
"""

from edge_sphereface.gallery.encryption import read_key, write_new_key
from edge_sphereface.gallery.factory import open_gallery
from edge_sphereface.gallery.gallery import Gallery
from edge_sphereface.gallery.records import Candidate, Enrollment, Identification, Identity, Portrait, Threshold

__all__ = [
    "Candidate",
    "Enrollment",
    "Gallery",
    "Identification",
    "Identity",
    "Portrait",
    "Threshold",
    "open_gallery",
    "read_key",
    "write_new_key",
]
