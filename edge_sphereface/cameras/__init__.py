"""Several cameras in one process: one detector, one model and one gallery for all of them.

.. code-block:: text

    camera ─► FaceStream ─┐  turns: the camera that was served least is next
    camera ─► FaceStream ─┼─► detector │ model (faces that wait go into one batch) │ gallery
    camera ─► FaceStream ─┘
                 └─► events ─► one dispatcher per sink
"""

from edge_sphereface.cameras.camera import Camera, CameraHealth, CameraStatus, GroupHealth
from edge_sphereface.cameras.group import CameraGroup

__all__ = ["Camera", "CameraGroup", "CameraHealth", "CameraStatus", "GroupHealth"]
