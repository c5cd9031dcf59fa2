"""Chooses the detector of ``auto`` among those on this machine, by accuracy and time that were measured."""

from __future__ import annotations

from dataclasses import dataclass

_WORTH_POINTS = 0.3
"""A faster detector is chosen if it verifies at most this many percentage points less than the most accurate one: about
the standard error of an accuracy on LFW's 6,000 pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorChoice:
    """The detector that ``auto`` chooses on this machine.

    Attributes:
        name: name of the detector.
        reason: why this one.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """One way to find faces and landmarks.

    Attributes:
        name: name of the detector.
        title: the way in words.
        accuracy: 10-fold accuracy on LFW's 6,000 pairs in percent, of the test checkpoint of half width.
        relative_time: time for a photograph of 640 x 480 pixels with one face, as a share of MTCNN's, on an x86-64
            processor with AVX-512.
    """

    name: str
    title: str
    accuracy: float
    relative_time: float


_YUNET_WITH_MTCNN = _Measured(name="yunet", title="YuNet with MTCNN's landmarks", accuracy=95.62, relative_time=0.35)
_YUNET = _Measured(name="yunet", title="YuNet with closer looks", accuracy=95.28, relative_time=0.6)
_MTCNN = _Measured(name="mtcnn", title="MTCNN", accuracy=95.02, relative_time=1.0)


def choose_detector(*, yunet: bool, mtcnn: bool) -> DetectorChoice | None:
    """Choose among the detectors on a machine.

    Args:
        yunet: whether YuNet's model is there.
        mtcnn: whether MTCNN's networks are there.

    Returns:
        The choice; None if there is no detector.
    """
    ways = []
    if yunet:
        ways.append(_YUNET_WITH_MTCNN if mtcnn else _YUNET)
    if mtcnn:
        ways.append(_MTCNN)
    if not ways:
        return None
    accurate = max(way.accuracy for way in ways) - _WORTH_POINTS
    best = min((way for way in ways if way.accuracy >= accurate), key=lambda way: way.relative_time)
    others = [f"{way.title} {_figures(way)}" for way in ways if way is not best]
    reason = f"{best.title}: {_figures(best)}, by a network trained on most of their people"
    return DetectorChoice(name=best.name, reason=f"{reason}; {others[0] if others else 'no other detector is here'}")


def _figures(way: _Measured) -> str:
    share = "" if way is _MTCNN else f" in {100 * way.relative_time:.0f} % of MTCNN's time"
    return f"{way.accuracy:.2f} % of LFW's pairs decided correctly{share}"
