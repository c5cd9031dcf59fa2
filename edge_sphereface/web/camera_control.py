"""What the HTTP interface asks of a group of cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.json_output import Dataclass


class CameraControl(Protocol):
    """Cameras that are listed, added, changed and removed while they run. Safe to use from several threads.

    A camera is given as the group itself defines it.
    """

    def cameras(self) -> Sequence[Dataclass]:
        """A record of each camera's state, which :func:`~edge_sphereface.json_output.json_object` converts."""
        ...

    def add(self, camera: Any, /) -> object:
        """Add a camera and start it.

        Raises:
            EdgeSphereFaceError: there is a camera of that name, or it cannot be started as asked.
        """
        ...

    def change(self, camera: Any, /) -> object:
        """Replace the camera of that name, and start it anew.

        Raises:
            EdgeSphereFaceError: there is no camera of that name, or it cannot be started as asked.
        """
        ...

    def remove(self, name: str, /) -> object:
        """Stop and remove a camera.

        Raises:
            EdgeSphereFaceError: there is no camera of that name.
        """
        ...

    def snapshot(self, name: str, /) -> bytes:
        """The newest picture of a camera, a JPEG file.

        Raises:
            EdgeSphereFaceError: there is no camera of that name, or it has no picture yet.
        """
        ...
