"""Sources that read a folder of images or a Python iterator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.errors import ImageError, SourceError
from edge_sphereface.image import check_image, find_images, load_image
from edge_sphereface.stream.capture.address import printable
from edge_sphereface.stream.capture.source import FrameSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edge_sphereface.types import UInt8Array


class FolderSource(FrameSource):
    """Pictures of a folder, in the order of their paths.

    Args:
        folder: where they are; those that cannot be decoded are left out, and told at the end.
        fps: rate at which they were taken.
    """

    live = False

    def __init__(self, folder: Path, *, fps: float = 25.0) -> None:
        self.name = printable(str(folder))
        self.fps = fps
        self._folder = folder
        self._paths: list[Path] = []
        self._next = 0
        self._bad: list[ImageError] = []

    def open(self) -> None:
        """List the pictures; see :meth:`FrameSource.open`."""
        try:
            self._paths = find_images(self._folder)
        except ImageError as error:
            raise SourceError(error.message, hint=error.hint) from error
        if not self._paths:
            raise SourceError(f"There are no pictures in {self._folder}.", hint="JPEG, PNG, BMP, TIFF or WebP")
        self._next = 0
        self._bad.clear()

    def read(self) -> UInt8Array | None:
        """The next picture that can be decoded; see :meth:`FrameSource.read`."""
        while self._next < len(self._paths):
            self._next += 1
            try:
                return load_image(self._paths[self._next - 1])
            except ImageError as error:
                self._bad.append(error)
        if self._bad:
            first = self._bad[0]
            raise SourceError(
                f"{len(self._bad)} of {len(self._paths)} pictures could not be read. The first: {first.message}",
                hint=first.hint,
            ) from first
        return None

    def skip(self) -> bool:
        """Go past a picture without reading it."""
        self._next += 1
        return self._next <= len(self._paths)

    def close(self) -> None:
        """Nothing is held."""


class IteratorSource(FrameSource):
    """Frames of a Python iterator, so that any library that reads a camera fits.

    Args:
        frames: an iterable of (H, W, 3) uint8 BGR arrays, read once; or a function that gives a new one whenever the
            source is opened, so that it can be opened again.
        name: to be printed.
        live: frames come by themselves, as from a camera; False: as fast as they are taken.
        fps: if it is known.
    """

    def __init__(
        self,
        frames: Iterable[UInt8Array] | Callable[[], Iterable[UInt8Array]],
        *,
        name: str = "frames",
        live: bool = True,
        fps: float | None = None,
    ) -> None:
        self.name, self.fps = name, fps
        self._make = frames if callable(frames) else None
        self._iterator: Iterator[UInt8Array] | None = None if callable(frames) else iter(frames)
        self.live = live

    @property
    def reopens(self) -> bool:
        """Whether it can be opened a second time."""
        return self._make is not None

    def open(self) -> None:
        """Begin; see :meth:`FrameSource.open`."""
        if self._make is not None:
            self._iterator = iter(self._make())

    def read(self) -> UInt8Array | None:
        """The next frame; see :meth:`FrameSource.read`."""
        if self._iterator is None:
            raise SourceError(f"{self.name} is not open.")
        image = next(self._iterator, None)
        if image is None:
            return None
        try:
            return check_image(image)
        except ImageError as error:
            raise SourceError(
                f"{self.name} gave something else than a frame: {error.message}", hint=error.hint
            ) from error

    def close(self) -> None:
        """Let a generator clean up behind itself."""
        iterator = self._iterator
        if self._make is not None:
            self._iterator = None
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
