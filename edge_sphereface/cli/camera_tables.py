"""The ``[[camera]]`` tables of a file of settings: each is a camera of a group."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from edge_sphereface.cli.arguments import liveness_group
from edge_sphereface.cli.configuration import option_values
from edge_sphereface.cli.liveness_models import require_liveness_model
from edge_sphereface.cli.option import Option, options_of, settings_from
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.stream.settings import StreamSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sphereface.cameras import Camera
    from edge_sphereface.cli.liveness_models import LivenessModels
    from edge_sphereface.types import JsonObject

TABLE = "camera"


def camera_options() -> list[Option]:
    """The keys of a table: the settings of a stream, its liveness models, and its source."""
    source = Option(
        name="source",
        metavar="SOURCE",
        help="camera number, URL (rtsp, http, …), GStreamer pipeline, video file, folder of images",
    )
    return [source, *liveness_group(), *options_of(StreamSettings)]


def camera_of(table: Mapping[str, Any], shared: Mapping[str, Any], liveness: LivenessModels) -> Camera:
    """The camera of a table.

    Args:
        table: values of its options by their attributes.
        shared: values for what the table leaves out.
        liveness: opens its liveness models.

    Raises:
        ModelError: a file is no liveness model.
        UsageError: the table has no name or no source, or a liveness threshold without a model.
        CameraError: the name cannot be printed.
    """
    from edge_sphereface.cameras import Camera

    for key, example in (("name", 'name = "front door"'), ("source", 'source = "rtsp://camera.lan/stream"')):
        if table.get(key) is None:
            which = f"The camera {table['name']!r}" if table.get("name") else "A camera"
            raise UsageError(f"{which} has no {key}.", hint=f"write {example} into each [[{TABLE}]] table")
    values = Namespace(**{**shared, **table})
    if "liveness" not in table:  # an empty list of a table's own switches the check off
        require_liveness_model(values)
    return Camera(
        name=table["name"],
        source=table["source"],
        settings=settings_from(StreamSettings, vars(values)),
        liveness=liveness.of_names(values),
    )


def camera_from_json(values: JsonObject, shared: Mapping[str, Any], liveness: LivenessModels) -> Camera:
    """The camera that a request describes with the keys of a table.

    Raises:
        UsageError: a key is no setting of a camera, or its value is none that it takes.
        ModelError: a file is no liveness model.
        CameraError: the name cannot be printed.
    """
    return camera_of(option_values(values, camera_options(), TABLE), shared, liveness)
