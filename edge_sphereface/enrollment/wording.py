"""Reports about people, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.enrollment.person import PersonReport


def lines_about(person: PersonReport) -> list[str]:
    """Figures and advice about the photographs of a person, a line each."""
    return [*_figures(person), *advice_about(person)]


def advice_about(person: PersonReport) -> list[str]:
    """What to do about the photographs of a person, a sentence each; empty if there is nothing to do."""
    advice = []
    if len(person.photographs) == 1:
        advice.append("One photograph only: add two or more, so that they can be compared.")
    advice += [_about_harmful(person, number) for number in person.harmful]
    if person.redundant:
        advice.append(f"{_photographs(person, person.redundant)}: repeats another photograph and adds nothing.")
    lacking = [*(person.missing_poses or ()), *(f"light {light}" for light in person.missing_light or ())]
    if lacking:
        advice.append(f"No photograph shows: {', '.join(lacking)}.")
    return advice


def expected_in_words(person: PersonReport) -> str:
    """The expected recognition with its interval."""
    found = person.expected
    if found is None:
        return "unknown"
    known = threshold_in_words(found.threshold, is_calibrated=found.calibrated)
    return (
        f"{100 * found.rate:.0f} % at the {known} (95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %, "
        f"from {found.photographs} photographs)"
    )


def threshold_in_words(threshold: float | None, *, is_calibrated: bool) -> str:
    """The gallery's threshold, and whether it is only the model's own; None if it has none."""
    if threshold is None:
        return "no threshold"
    return f"threshold {threshold:.3f}" + ("" if is_calibrated else ", not calibrated")


def _about_harmful(person: PersonReport, number: int) -> str:
    found = person.photographs[number - 1]
    if found.looks_like is not None and found.nearest is not None:
        why = f"it looks like {found.looks_like} ({found.nearest.similarity:.3f})"
    else:
        why = "somebody else, or a picture that harms recognition"
    return f"{_photographs(person, [number])}: {why}; to the template of the others {found.similarity:.3f}. Check it."


def _figures(person: PersonReport) -> list[str]:
    lines = []
    if person.similarity is not None and person.least_similarity is not None:
        least = person.least_similarity
        lines.append(f"alike {person.similarity:.3f} to the template of the others, the least {least:.3f}")
    if person.nearest is not None:
        margin = "" if person.margin is None else f", margin {person.margin:.3f}"
        lines.append(f"nearest other person {person.nearest.name} {person.nearest.similarity:.3f}{margin}")
    if person.expected is not None:
        lines.append(f"expected recognition {expected_in_words(person)}")
    return lines


def _photographs(person: PersonReport, numbers: Sequence[int]) -> str:
    named = [person.photographs[number - 1] for number in numbers]
    return ", ".join(f"photograph {each.number}" if each.path is None else str(each.path) for each in named)
