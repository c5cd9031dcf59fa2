"""Formats events as terminal lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.stream import Event
    from edge_sphereface.types import JsonObject


def json_line(event: Event) -> str:
    """An event for machines."""
    return event.line()


def plain_line(event: Event) -> str | None:
    """An event for people; None for what they need not see."""
    detail = event.detail
    if event.kind == "statistics" and not detail["final"]:
        return None
    return f"{event.as_json()['time'][11:19]}  {_about_face(event) if 'track' in detail else _about_source(event)}"


def _about_source(event: Event) -> str:
    detail = event.detail
    if event.kind == "source-up":
        return f"{detail['source']}: {detail['width']} x {detail['height']}"
    if event.kind == "source-down":
        return _about_end(detail)
    return (
        f"{detail['frames']} frames ({detail['dropped']} dropped), {detail['detections']} detections, "
        f"{detail['embeddings']} embeddings in {detail['seconds']:.1f} s"
    )


def _about_end(detail: JsonObject) -> str:
    """The hint stands only where the source is tried again; where the command ends, its error message has it."""
    reason: str = detail["reason"]
    if detail["retry_s"] is None:
        return reason
    hint: str = detail["hint"]
    text = f"{reason.removesuffix('.')}; trying again in {detail['retry_s']:.0f} s"
    return f"{text}. {hint[0].upper()}{hint[1:]}" if hint else text


def _about_face(event: Event) -> str:
    detail = event.detail
    who = detail.get("name") or ("somebody" if event.kind in ("appeared", "lost") else "unknown")
    text = f"face {detail['track']}: {who}"
    if event.kind == "appeared":
        return f"{text} came"
    if event.kind == "lost":
        return f"{text} left after {detail['seconds']:.1f} s"
    return text + ("" if detail["similarity"] is None else f" (similarity {detail['similarity']:.3f})")
