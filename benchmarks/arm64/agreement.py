"""Compare the results of an emulated core with those of the same files on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.metrics import agreement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from edge_sphereface.types import JsonObject

LANDMARK_PX = 0.1
CROP_LEVELS = 1
FLOAT_ERROR = 1e-4
INT8_COSINE = {"portable": 0.9995, "arm64": 0.999}
"""Least cosine similarity of INT8 embeddings, by target. The target for x86-64 is reported but not judged."""
SIMILARITY = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of one processor with this machine.

    Attributes:
        faces: number of faces in the photograph, on this machine and on the processor.
        landmark_px: largest difference of a landmark or of a corner of a box, in pixels.
        crop_levels: largest difference of a pixel of the aligned crops, in levels.
        similarity: difference of the cosine similarity of two photographs.
        float_error: largest difference of a component relative to the largest component, by form.
        int8_cosine: least cosine similarity of the embeddings, by target.
        int8_identical: share of embeddings that are identical bit for bit, by target.
    """

    faces: tuple[int, int] | None = None
    landmark_px: float | None = None
    crop_levels: int | None = None
    similarity: float | None = None
    float_error: Mapping[str, float] = field(default_factory=dict)
    int8_cosine: Mapping[str, float] = field(default_factory=dict)
    int8_identical: Mapping[str, float] = field(default_factory=dict)

    def problems(self, *, targets: Collection[str] = tuple(INT8_COSINE), crops_judged: bool = True) -> Iterator[str]:
        """Describe the differences that exceed their bounds, in sentences.

        Args:
            targets: INT8 targets that both processors compute exactly; others are not judged.
            crops_judged: False if a different version of OpenCV made the crops.
        """
        if self.faces is not None and self.faces[0] != self.faces[1]:
            yield f"{self.faces[1]} faces are found instead of {self.faces[0]}"
        if self.landmark_px is not None and not self.landmark_px <= LANDMARK_PX:
            yield f"landmarks differ by {self.landmark_px:.3f} px, more than {LANDMARK_PX:g}"
        if crops_judged and self.crop_levels is not None and self.crop_levels > CROP_LEVELS:
            yield f"pixels of crops differ by {self.crop_levels} levels, more than {CROP_LEVELS}"
        if self.similarity is not None and not self.similarity <= SIMILARITY:
            yield f"the similarity of two photographs differs by {self.similarity:.1e}, more than {SIMILARITY:g}"
        for form, error in self.float_error.items():
            if not error <= FLOAT_ERROR:
                yield f"float embeddings ({form}) differ by {error:.1e}, more than {FLOAT_ERROR:g}"
        for target, bound in INT8_COSINE.items():
            if target in targets and target in self.int8_cosine and not self.int8_cosine[target] >= bound:
                yield f"INT8 embeddings ({target}) have a cosine of {self.int8_cosine[target]:.6f}, less than {bound:g}"


def compare(here: Mapping[str, JsonObject], there: Mapping[str, JsonObject], folders: tuple[Path, Path]) -> Agreement:
    """Compare two runs of :mod:`benchmarks.arm64.features`.

    Args:
        here: details of this machine, by feature.
        there: details of the processor, by feature; missing features are not compared.
        folders: folders of the embeddings of this machine and of the processor.
    """
    floats = {form: _measure(folders, form) for form in here.get("float embedding", {}).get("forms", ())}
    int8 = {form: _measure(folders, form) for form in here.get("int8 embedding", {}).get("forms", ())}
    faces = None
    if "detect" in there and "detect" in here:
        faces = (len(here["detect"]["faces"]), len(there["detect"]["faces"]))
    return Agreement(
        faces=faces,
        landmark_px=_landmark_px(here, there) if faces is not None and faces[0] == faces[1] else None,
        crop_levels=_crop_levels(here, there),
        similarity=_similarity(here, there),
        float_error={form: row[0] for form, row in floats.items() if row},
        int8_cosine={form: row[1] for form, row in int8.items() if row},
        int8_identical={form: row[2] for form, row in int8.items() if row},
    )


def _measure(folders: tuple[Path, Path], form: str) -> tuple[float, float, float] | None:
    paths = [folder / f"{form}.npy" for folder in folders]
    if not all(path.is_file() for path in paths):
        return None
    expected, got = (np.load(path) for path in paths)
    found = agreement(expected, got)
    return found.max_abs_error, min(found.min_cosine, 1.0), float((got == expected).all(axis=1).mean())


def _landmark_px(here: Mapping[str, JsonObject], there: Mapping[str, JsonObject]) -> float:
    def points(face: JsonObject) -> list[float]:
        return [*face["box"], *(value for point in face["landmarks"].values() for value in point)]

    pairs = zip(here["detect"]["faces"], there["detect"]["faces"], strict=True)
    return max(float(np.abs(np.subtract(points(one), points(other))).max()) for one, other in pairs)


def _crop_levels(here: Mapping[str, JsonObject], there: Mapping[str, JsonObject]) -> int | None:
    if "align" not in here or "align" not in there:
        return None
    one, other = (np.array(run["align"]["crops"], dtype=np.int16) for run in (here, there))
    return int(np.abs(one - other).max()) if one.shape == other.shape else 255


def _similarity(here: Mapping[str, JsonObject], there: Mapping[str, JsonObject]) -> float | None:
    if "verify" not in here or "verify" not in there:
        return None
    return abs(float(here["verify"]["similarity"]) - float(there["verify"]["similarity"]))
