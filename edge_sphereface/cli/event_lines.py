"""Formats events as terminal lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.strangers import Stranger
    from edge_sphereface.stream import Event, SourceDown, StatisticsReported


_AGAIN_S = 600.0


def json_line(event: Event) -> str:
    """An event as one JSON object."""
    return event.line()


class PlainLines:
    """Events as lines of text.

    A source that stays away is told when it fails and every ten minutes after that, not at each try to open it.

    Args:
        names_stream: begin each line with the name of its stream, where there are several.
    """

    def __init__(self, *, names_stream: bool = False) -> None:
        self._names_stream = names_stream
        self._told: dict[str, tuple[str, float]] = {}

    def __call__(self, event: Event) -> str | None:
        """The line of an event; None for one that has none."""
        from edge_sphereface.stream.events import SourceDown, SourceUp

        if isinstance(event, SourceUp):
            self._told.pop(event.stream, None)
        if isinstance(event, SourceDown) and event.retry_s is not None:
            reason, told = self._told.get(event.stream, ("", 0.0))
            if event.reason == reason and event.unix_time - told < _AGAIN_S:
                return None
            self._told[event.stream] = (event.reason, event.unix_time)
        line = plain_line(event)
        return f"{event.stream}  {line}" if line is not None and self._names_stream else line


def plain_line(event: Event) -> str | None:
    """An event as a line of text; None for statistics before the last."""
    from edge_sphereface.stream import events

    text = None
    match event:
        case events.FaceAppeared():
            text = f"face {event.track}: somebody came"
        case events.DecisionEvent():
            similarity = "" if event.similarity is None else f" (similarity {event.similarity:.3f})"
            text = f"face {event.track}: {event.name or 'unknown'}{similarity}{_seen_before(event.stranger)}"
        case events.FaceLost():
            text = f"face {event.track}: {event.name or 'somebody'} left after {event.seconds:.1f} s"
        case events.SourceUp():
            text = f"{event.source}: {event.width} x {event.height}"
        case events.SourceDown():
            text = _end(event)
        case events.StatisticsReported(final=True):
            text = _summary(event)
    return None if text is None else f"{event.time:%H:%M:%S}  {text}"


def _seen_before(stranger: Stranger | None) -> str:
    if stranger is None:
        return ""
    return f", seen before: {stranger.id}, {stranger.sightings} sighting{'s' * (stranger.sightings != 1)}"


def _summary(event: StatisticsReported) -> str:
    return (
        f"{event.frames} frames ({event.dropped} dropped), {event.detections} detections, "
        f"{event.embeddings} embeddings in {event.seconds:.1f} s"
    )


def _end(event: SourceDown) -> str:
    """The hint is included only if the source is opened again; otherwise the command's error message has it."""
    if event.retry_s is None:
        return event.reason
    text = f"{event.reason.removesuffix('.')}; trying again in {event.retry_s:.0f} s"
    return f"{text}. {event.hint[0].upper()}{event.hint[1:]}" if event.hint else text
