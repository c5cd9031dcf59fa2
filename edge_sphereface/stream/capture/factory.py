"""Opens a source; its address determines the class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from edge_sphereface.stream.capture.address import SourceKind, kind_of

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.source import FrameSource

Source: TypeAlias = str | Path | int | Iterable[Any] | Callable[[], Iterable[Any]]
"""An address, or frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How a source is opened.

    Attributes:
        size: (width, height) to ask of a camera.
        pixel_format: FourCC to ask of a camera, such as ``MJPG``.
        camera_fps: rate to ask of a camera.
        folder_fps: at which the pictures of a folder were taken.
        stall_s: after which a source that gives nothing is opened again.
    """

    size: tuple[int, int] | None = None
    pixel_format: str | None = None
    camera_fps: float | None = None
    folder_fps: float = 25.0
    stall_s: float = 10.0


def make_source(source: Source, options: SourceOptions) -> FrameSource:
    """A source that is not open yet.

    Args:
        source: number of a camera, ``/dev/video*``, URL, GStreamer pipeline, path of a video or of a folder of
            pictures; or an iterable of frames (H, W, 3) uint8 BGR, or a function that gives one.
        options: how to open it.

    Raises:
        SourceError: an address that nothing here reads.
    """
    from edge_sphereface.stream.capture.gstreamer import PipelineSource
    from edge_sphereface.stream.capture.images import FolderSource, IteratorSource
    from edge_sphereface.stream.capture.opencv import CaptureSource

    if not isinstance(source, (str, Path, int)):
        return IteratorSource(cast("Iterable[Any] | Callable[[], Iterable[Any]]", source))
    address = str(source)
    kind = kind_of(address)
    if kind is SourceKind.PIPELINE:
        return PipelineSource(address)
    if kind is SourceKind.FOLDER:
        return FolderSource(Path(address), fps=options.folder_fps)
    return CaptureSource(
        address,
        size=options.size,
        pixel_format=options.pixel_format,
        camera_fps=options.camera_fps,
        timeout_s=options.stall_s,
    )
