"""Warns when a gallery's threshold was not calibrated for the command that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import note

if TYPE_CHECKING:
    from edge_sphereface.gallery import Gallery


def warn_uncalibrated(gallery: Gallery, *, tracks: bool = False) -> None:
    """Say so, and name the command that helps.

    Args:
        gallery: whose threshold is used.
        tracks: whether faces are followed, and not photographs looked up.
    """
    threshold = gallery.threshold
    if threshold is None or (threshold.calibrated and (threshold.tracks or not tracks)):
        return
    from edge_sphereface.evaluation.threshold import people_needed, tracks_needed

    far = 0.01 if tracks else 0.001
    needed = f"{tracks_needed(far)} tracks of strangers" if tracks else f"{people_needed(far)} people"
    kind = f"--far {far} --tracks STRANGERS" if tracks else f"--far {far} PHOTOS"
    state = (
        "was not calibrated for this gallery"
        if not threshold.calibrated
        else "was calibrated on photographs; watch looks at a face often, and more strangers reach it"
    )
    note(
        f"warning: the threshold {threshold.value:.3f} of {gallery.location} {state}: edge-sphereface "
        f"calibrate-threshold --gallery {gallery.location} {kind} (needs {needed}; "
        "with fewer, give a --threshold to start from: docs/gallery.md#few-people)"
    )
