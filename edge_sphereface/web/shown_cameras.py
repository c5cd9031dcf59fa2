"""The cameras of the page: one stream, or those of a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge_sphereface.web.captures import Captures
from edge_sphereface.web.live_view import LiveView
from edge_sphereface.web.messages import CameraTile
from edge_sphereface.web.sightings import Sightings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.gallery import Gallery
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.stream.statistics import StreamHealth


class CameraState(Protocol):
    """The state of a camera; see :class:`~edge_sphereface.cameras.CameraStatus`."""

    @property
    def name(self) -> str:
        """Name of the camera."""
        ...

    @property
    def state(self) -> str:
        """``starting``, ``up``, ``down``, ``failed`` or ``ended``."""
        ...

    @property
    def reason(self) -> str:
        """Why it does not work; empty if it does."""
        ...

    @property
    def health(self) -> StreamHealth:
        """Whether it works."""
        ...


class WatchedCameras(Protocol):
    """What the page asks of :class:`~edge_sphereface.cameras.CameraGroup`."""

    @property
    def gallery(self) -> Gallery | None:
        """The known identities."""
        ...

    @property
    def strangers(self) -> StrangerKeeper | None:
        """What keeps people without a name; None where they are not kept."""
        ...

    def cameras(self) -> Sequence[CameraState]:
        """The state of each camera."""
        ...

    def stream(self, name: str) -> FaceStream:
        """The stream of a camera.

        Raises:
            EdgeSphereFaceError: there is no camera of that name.
        """
        ...

    def problems(self) -> Sequence[str]:
        """What is wrong besides sources, as sentences."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _OneState:
    name: str
    state: str
    reason: str
    health: StreamHealth


class OneCamera:
    """A single stream, as a group of one.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: FaceStream) -> None:
        self._stream = stream

    @property
    def gallery(self) -> Gallery | None:
        """The known identities."""
        return self._stream.gallery

    @property
    def strangers(self) -> StrangerKeeper | None:
        """What keeps people without a name; None where they are not kept."""
        return self._stream.strangers

    def cameras(self) -> tuple[_OneState]:
        """The state of the camera."""
        stream = self._stream
        state = "up" if stream.source_up else "down" if stream.source_reason else "starting"
        return (_OneState(name=stream.settings.name, state=state, reason=stream.source_reason, health=stream.health()),)

    def stream(self, _: str) -> FaceStream:
        """The stream."""
        return self._stream

    def problems(self) -> tuple[str, ...]:
        """What is wrong besides the source."""
        return self._stream.health().problems


class ShownCameras:
    """The newest frames of all cameras, who was seen on them, and who is being enrolled with them."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self.captures = Captures()
        self._views: dict[str, LiveView] = {}

    def view(self, name: str) -> LiveView:
        """The newest frame of a camera, which may come later."""
        return self._views.setdefault(name, LiveView())

    def tiles(self, watched: WatchedCameras) -> tuple[CameraTile, ...]:
        """What the page shows of each camera; frames of cameras that were removed are forgotten."""
        states = watched.cameras()
        for gone in self._views.keys() - {state.name for state in states}:
            self._views.pop(gone).close()
        return tuple(self._tile(state) for state in states)

    def close(self) -> None:
        """Show no more frames, and wake everyone who waits for one."""
        for view in self._views.values():
            view.close()

    def _tile(self, state: CameraState) -> CameraTile:
        healthy = state.health.healthy and state.state == "up"
        view = self._views.get(state.name)
        faces = view.faces if view is not None and healthy else ()
        return CameraTile(
            name=state.name,
            state=state.state,
            reason=state.reason,
            healthy=healthy,
            names=tuple(sorted({face.name for face in faces if face.name is not None})),
            strangers=sum(face.standing == "unknown" for face in faces),
        )


class CameraView:
    """A frame sink that shows one camera on a page with others.

    Args:
        cameras: those of the page.
        name: of the camera.
    """

    problem = ""

    def __init__(self, cameras: ShownCameras, name: str) -> None:
        self._cameras, self._name = cameras, name
        self._stream: FaceStream | None = None

    def open(self, stream: FaceStream) -> None:
        """Note the stream, whose model looks at guided captures; the page serves all cameras."""
        self._stream = stream

    def take(self, result: FrameResult) -> None:
        """See :meth:`FrameSink.take`."""
        self._cameras.sightings.take(self._name, result)
        self._cameras.view(self._name).take(result)
        self._cameras.captures.take(self._name, result, self._stream)

    def close(self, timeout_s: float) -> None:
        """Nothing to do: the last frame stays until the camera is removed."""
