"""Opens a source; its address determines the class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from edge_sphereface.setting import Range, setting
from edge_sphereface.stream.capture.address import SourceKind, kind_of

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.source import FrameSource

Source: TypeAlias = str | Path | int | Iterable[Any] | Callable[[], Iterable[Any]]
"""The address of a source, or its frames."""


_ABOVE_ZERO = Range(least=0, is_open=True).parse
_PIXELS = Range(least=1, is_whole=True).parse
_FOURCC_LETTERS = 4


def _image_size(text: str) -> tuple[int, int]:
    width, separator, height = text.lower().partition("x")
    if not separator:
        raise ValueError(f"expected WIDTHxHEIGHT such as 1280x720, got {text!r:.80}")
    return int(_PIXELS(width)), int(_PIXELS(height))


def _fourcc(text: str) -> str:
    if len(text) != _FOURCC_LETTERS or not text.isascii():
        raise ValueError(f"expected four letters such as MJPG, got {text!r:.40}")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How a source is opened.

    Attributes:
        size: (width, height) in pixels to request from a camera; that of raw frames on standard input.
        pixel_format: FourCC to request from a camera, such as ``MJPG``; that of raw frames on standard input.
        camera_fps: frames per second to request from a camera.
        folder_fps: frame rate of a folder of images.
        stall_s: seconds without a frame after which a live source is reopened.
    """

    size: tuple[int, int] | None = setting(
        None, read=_image_size, metavar="WxH", help="request this size from a camera; size of raw frames on stdin"
    )
    pixel_format: str | None = setting(
        None,
        read=_fourcc,
        metavar="FOURCC",
        help="request this format from a camera, such as MJPG; format of raw frames on stdin, such as BGR3",
    )
    camera_fps: float | None = setting(
        None, read=_ABOVE_ZERO, metavar="N", help="request this frame rate from a camera"
    )
    folder_fps: float = setting(25.0, read=_ABOVE_ZERO, metavar="N", help="frame rate of a folder of images")
    stall_s: float = setting(
        10.0, read=_ABOVE_ZERO, metavar="S", help="reopen a camera or stream after S seconds without a frame"
    )


def make_source(source: Source, options: SourceOptions) -> FrameSource:
    """Make a source, which is not opened yet.

    Args:
        source: number of a camera, ``/dev/video*``, URL, GStreamer pipeline, ``-`` for standard input, path of a video
            or of a folder of images; or an iterable of frames (H, W, 3) uint8 BGR, or a function that returns one.
        options: how to open it.

    Raises:
        SourceError: the address is not supported.
    """
    from edge_sphereface.stream.capture.gstreamer import PipelineSource
    from edge_sphereface.stream.capture.images import FolderSource, IteratorSource
    from edge_sphereface.stream.capture.opencv import CaptureSource
    from edge_sphereface.stream.capture.stdin import StdinSource

    if not isinstance(source, (str, Path, int)):
        frames = cast("Iterable[Any] | Callable[[], Iterable[Any]]", source)
        is_recording = isinstance(frames, (list, tuple))  # whose frames wait for their turn
        return IteratorSource(frames, live=not is_recording)
    address = str(source)
    kind = kind_of(address)
    if kind is SourceKind.STDIN:
        return StdinSource(size=options.size, pixel_format=options.pixel_format)
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
