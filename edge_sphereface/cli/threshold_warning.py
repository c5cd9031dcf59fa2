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
    if threshold is None or (threshold.far is not None and (threshold.tracks or not tracks)):
        return
    kind = "--far 0.01 --tracks STRANGERS" if tracks else "--far 0.001 PHOTOS"
    state = (
        "was not calibrated for this gallery"
        if threshold.far is None
        else "was calibrated on photographs; watch looks at a face often, and more strangers reach it"
    )
    note(
        f"warning: the threshold {threshold.value:.3f} of {gallery.location} {state}: edge-sphereface "
        f"calibrate-threshold --gallery {gallery.location} {kind}"
    )
