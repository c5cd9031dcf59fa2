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
    """The images of a folder, in the order of their paths.

    Args:
        folder: the folder. Images that cannot be decoded are skipped, and an error at the end reports them.
        fps: frame rate at which they were taken.
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
        """List the images; see :meth:`FrameSource.open`."""
        try:
            self._paths = find_images(self._folder)
        except ImageError as error:
            raise SourceError(error.message, hint=error.hint) from error
        if not self._paths:
            raise SourceError(f"There are no images in {self._folder}.", hint="JPEG, PNG, BMP, TIFF or WebP")
        self._next = 0
        self._bad.clear()

    def read(self) -> UInt8Array | None:
        """The next image that can be decoded; see :meth:`FrameSource.read`."""
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
        """Skip an image without reading it."""
        self._next += 1
        return self._next <= len(self._paths)

    def close(self) -> None:
        """Nothing to do."""


class IteratorSource(FrameSource):
    """The frames of a Python iterator, for any library that reads a camera.

    Args:
        frames: an iterable of (H, W, 3) uint8 BGR arrays, which is read once; or a function that returns a new one
            whenever the source is opened, so that it can be reopened.
        name: name of the source in messages.
        live: whether frames arrive at their own rate, as from a camera, instead of as fast as they are taken.
        fps: frame rate; None if it is not known.
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
        """Whether the source can be opened again."""
        return self._make is not None

    def open(self) -> None:
        """Start the iteration; see :meth:`FrameSource.open`."""
        if self._make is not None:
            self._iterator = iter(self._make())

    def read(self) -> UInt8Array | None:
        """The next frame; see :meth:`FrameSource.read`."""
        image = self._next()
        if image is None:
            return None
        try:
            return check_image(image)
        except ImageError as error:
            raise SourceError(
                f"{self.name} returned something else than a frame: {error.message}", hint=error.hint
            ) from error

    def skip(self) -> bool:
        """Skip a frame without looking at it."""
        return self._next() is not None

    def _next(self) -> UInt8Array | None:
        if self._iterator is None:
            raise SourceError(f"{self.name} is not open.")
        return next(self._iterator, None)

    def close(self) -> None:
        """Close a generator."""
        iterator = self._iterator
        if self._make is not None:
            self._iterator = None
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
