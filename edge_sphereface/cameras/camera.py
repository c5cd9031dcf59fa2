"""A camera of a group, and what a group tells about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_sphereface.errors import CameraError
from edge_sphereface.stream.settings import StreamSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_sphereface.liveness import LivenessChecker
    from edge_sphereface.stream.capture.factory import Source
    from edge_sphereface.stream.capture.source import FrameSource
    from edge_sphereface.stream.statistics import StreamHealth, StreamStatistics

CameraState: TypeAlias = Literal["starting", "up", "down", "failed", "ended"]
"""``down``: its source delivers nothing and is opened again; ``failed``: it works only after it was changed or the
process started again; ``ended``: a recording is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera of a group.

    Attributes:
        name: name of the camera, which its events carry; no two cameras of a group share one.
        source: see :class:`~edge_sphereface.FaceStream`. It may hold credentials, and is not printed.
        settings: everything else; its own ``name`` is not used.
        liveness: checks whether faces are live; those that are not get no name. None to check nothing.

    Raises:
        CameraError: the name cannot be printed, or is blank.
    """

    name: str
    source: Source | FrameSource = field(repr=False)
    settings: StreamSettings = field(default_factory=StreamSettings)
    liveness: LivenessChecker | None = None

    def __post_init__(self) -> None:
        """Refuse a name that events cannot carry, and keep it in the settings."""
        try:
            settings = replace(self.settings, name=self.name)
        except ValueError as error:
            raise CameraError(
                f"Expected a name of visible characters for a camera, got {self.name!r:.80}.",
                hint="name it after the place that it watches",
            ) from error
        object.__setattr__(self, "settings", settings)


def require_distinct_names(cameras: Iterable[Camera]) -> None:
    """Refuse cameras whose names, or the files that are named after them, are the same.

    Raises:
        CameraError: two of them are.
    """
    taken: dict[str, str] = {}
    for camera in cameras:
        file_name = camera.settings.file_name
        if file_name in taken:
            raise CameraError(
                f"Expected a name for each camera alone, got {camera.name!r} beside {taken[file_name]!r}.",
                hint="names must differ in letters or digits, since files are named after them",
            )
        taken[file_name] = camera.name


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """What a group tells about one of its cameras.

    Attributes:
        name: name of the camera.
        source: name of its source, without credentials.
        state: whether it works: ``starting``, ``up``, ``down``, ``failed`` or ``ended``.
        reason: why it does not work; empty if it does.
        restarts: how often its stream was started again after it failed.
        inference_s: time that detector and model worked for it, in seconds.
        waited_s: time that it waited for them, in seconds.
        health: whether it works, with times.
        statistics: its counts, rates and times.
    """

    name: str
    source: str
    state: CameraState
    reason: str
    restarts: int
    inference_s: float
    waited_s: float
    health: StreamHealth
    statistics: StreamStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraHealth:
    """Health of one camera of a group.

    Attributes:
        name: name of the camera.
        state: ``starting``, ``up``, ``down``, ``failed`` or ``ended``.
        healthy: whether frames come and are processed in time.
        reason: why it does not work; empty if it does.
        frame_s: seconds since the last frame was processed; None before the first.
        problems: what is wrong besides its source, as sentences.
    """

    name: str
    state: CameraState
    healthy: bool
    reason: str
    frame_s: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupHealth:
    """Whether a group works, and which of its cameras do.

    Attributes:
        healthy: whether the group processes what its cameras deliver. Cameras that are down do not make it unhealthy:
            starting the process again would not help them.
        down: names of the cameras that are not healthy.
        cameras: all cameras.
    """

    healthy: bool
    down: tuple[str, ...]
    cameras: tuple[CameraHealth, ...]
