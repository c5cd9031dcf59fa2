"""The interface of a frame source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array


class FrameSource(ABC):
    """Gives frames one after another. Used by one thread, but for :meth:`interrupt`.

    Attributes:
        name: to be printed; without credentials.
        live: whether frames come by themselves, at their own pace, so that some may have to be dropped.
        fps: frames a second, if it knows; read after :meth:`open`.
    """

    name: str
    live: bool
    fps: float | None = None

    @property
    def reopens(self) -> bool:
        """Whether it is opened again when it ends or breaks."""
        return self.live

    @abstractmethod
    def open(self) -> None:
        """Connect.

        Raises:
            SourceError: it cannot be opened; the message says why, without credentials.
        """

    @abstractmethod
    def read(self) -> UInt8Array | None:
        """The next frame, (H, W, 3) uint8 BGR; None at the end. May block.

        Raises:
            SourceError: the source broke.
        """

    def skip(self) -> bool:
        """Go past the next frame without making a picture of it, where that is cheaper; False at the end.

        Raises:
            SourceError: the source broke.
        """
        return self.read() is not None

    def position_s(self) -> float | None:
        """Where the frame that was read last stands in a recording, in seconds; None if the source does not know."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of it; may be called twice."""

    def interrupt(self) -> None:  # noqa: B027 -- most sources cannot
        """Make a blocked :meth:`read` return, if that is possible. Called from another thread."""
