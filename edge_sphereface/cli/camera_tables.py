"""The ``[[camera]]`` tables of a file of settings: each is a camera of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_sphereface.cli.configuration import option_values
from edge_sphereface.cli.option import Option, options_of, settings_from
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.stream.settings import StreamSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sphereface.cameras import Camera
    from edge_sphereface.types import JsonObject

TABLE = "camera"


def camera_options() -> list[Option]:
    """The keys of a table: the settings of a stream, and its source."""
    source = Option(
        name="source",
        metavar="SOURCE",
        help="camera number, URL (rtsp, http, …), GStreamer pipeline, video file, folder of images",
    )
    return [source, *options_of(StreamSettings)]


def camera_of(table: Mapping[str, Any], shared: Mapping[str, Any]) -> Camera:
    """The camera of a table.

    Args:
        table: values of its options by their attributes.
        shared: values for what the table leaves out.

    Raises:
        UsageError: the table has no name, or no source.
        CameraError: the name cannot be printed.
    """
    from edge_sphereface.cameras import Camera

    for key, example in (("name", 'name = "front door"'), ("source", 'source = "rtsp://camera.lan/stream"')):
        if table.get(key) is None:
            which = f"The camera {table['name']!r}" if table.get("name") else "A camera"
            raise UsageError(f"{which} has no {key}.", hint=f"write {example} into each [[{TABLE}]] table")
    settings = settings_from(StreamSettings, {**shared, **table})
    return Camera(name=table["name"], source=table["source"], settings=settings)


def camera_from_json(values: JsonObject, shared: Mapping[str, Any]) -> Camera:
    """The camera that a request describes with the keys of a table.

    Raises:
        UsageError: a key is no setting of a camera, or its value is none that it takes.
        CameraError: the name cannot be printed.
    """
    return camera_of(option_values(values, camera_options(), TABLE), shared)
