"""The interface of a frame source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array


class FrameSource(ABC):
    """Delivers frames one after another. Used by one thread, except for :meth:`interrupt`.

    Attributes:
        name: name in messages, without credentials.
        live: whether frames arrive at their own rate, so that some may have to be dropped.
        fps: frames per second; None if it is not known. Read after :meth:`open`.
        is_waiting: whether :meth:`open` waits for an answer or for another source, within a limit: it does not hang.
    """

    name: str
    live: bool
    fps: float | None = None
    is_waiting: bool = False

    @property
    def reopens(self) -> bool:
        """Whether the source is reopened when it ends or fails."""
        return self.live

    @abstractmethod
    def open(self) -> None:
        """Open the source.

        Raises:
            SourceError: the source cannot be opened. The message says why, without credentials.
        """

    @abstractmethod
    def read(self) -> UInt8Array | None:
        """The next frame, (H, W, 3) uint8 BGR; None at the end. May block.

        Raises:
            SourceError: the source failed.
        """

    def skip(self) -> bool:
        """Skip the next frame, without decoding it if possible; False at the end.

        Raises:
            SourceError: the source failed.
        """
        return self.read() is not None

    def position_s(self) -> float | None:
        """Position of the last frame in a recording, in seconds; None if it is not known."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release the source. May be called twice."""

    def interrupt(self) -> None:  # noqa: B027 -- most sources cannot
        """Make a blocked :meth:`read` return, if possible. Called from another thread."""
