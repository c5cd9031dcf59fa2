"""Errors for missing galleries, identities and thresholds, shared by all backends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.errors import GalleryNotFoundError, IdentityNotFoundError, ThresholdError

if TYPE_CHECKING:
    from collections.abc import Sequence


def no_gallery(location: object) -> GalleryNotFoundError:
    """Error: the gallery does not exist, and it was not to be created."""
    return GalleryNotFoundError(
        f"There is no gallery {location}.", hint="enroll somebody to create it", remedy="create-gallery"
    )


def no_identities(names: Sequence[str], similar: Sequence[str] = ()) -> IdentityNotFoundError:
    """Error: the gallery holds no identities of these names.

    Args:
        names: the missing names, at least one.
        similar: similar names that the gallery holds.
    """
    return IdentityNotFoundError(
        f"The gallery holds nobody named {', '.join(map(repr, names))}.",
        hint=f"it holds {', '.join(map(repr, similar))}" if similar else "list the identities to see all names",
        remedy=None if similar else "list-identities",
    )


def no_threshold(location: str) -> ThresholdError:
    """Error: the gallery has no threshold, and none was given."""
    return ThresholdError(
        f"The gallery {location} has no threshold for its kind of embeddings.",
        hint="give one, or calibrate it",
        remedy="calibrate-threshold",
    )
