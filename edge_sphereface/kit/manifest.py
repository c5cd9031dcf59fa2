"""The manifest of a proof kit: forms of the network, golden crops, expected outputs, and the SHA-256 of every file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from edge_sphereface.errors import KitError
from edge_sphereface.model.certificate import Bounds
from edge_sphereface.model.spec import MAX_CROP_SIDE, Layout, ModelSpec
from edge_sphereface.storage.bounded_json import MAX_JSON_BYTES, shown
from edge_sphereface.storage.record import Between, Count, Length, Pattern, Record, Sha256
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edge_sphereface.types import JsonObject

KIND: Final = "edge_sphereface.kit"
SCHEMA_VERSION: Final = 1
MANIFEST = "manifest.json"
"""Name of the manifest in the kit's folder."""
MAX_CROPS = 1024
"""Largest number of golden crops."""
_MOST_VALUES = 1 << 20
"""Largest number of values of all outputs. Together with the number of mistakes it bounds the memory of a check."""

Precision: TypeAlias = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
"""Precisions that a device may compute in."""
LAXEST_BOUNDS: dict[Precision, Bounds] = {
    "float32": Bounds(max_abs_error=1e-2, min_cosine=0.999),
    "float16": Bounds(max_abs_error=5e-2, min_cosine=0.999),
    "int8": Bounds(max_abs_error=0.5, min_cosine=0.9),
}
"""Bounds that a kit's may not exceed: outputs beyond them prove nothing."""
MistakeName: TypeAlias = Literal[
    "red-blue-swapped",
    "normalized-twice",
    "not-normalized",
    "zero-to-one",
    "mean-only",
    "scale-only",
    "imagenet-normalized",
    "height-width-swapped",
    "nhwc-as-nchw",
]
"""Mistakes of preprocessing whose outputs the kit stores; :mod:`edge_sphereface.kit.mistakes` explains them."""

_HINT = "copy the kit again as a whole, or make it again with this version"
_FILE = RegularFile(what="kit manifest", limit=MAX_JSON_BYTES, error=KitError, hint=_HINT)
_PART = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
KitPath = Annotated[str, Pattern(rf"{_PART}(?:/{_PART}){{0,3}}", "of a relative path such as 'crops/crops.npy'")]
"""Path of a file relative to the kit's folder, with ``/``; it cannot lead out of the folder."""
_Words = Annotated[str, Length(200, 1)]


class _Part(Record):
    """Base of the records in a manifest."""

    __slots__ = ()
    record_name = "The kit's manifest"
    record_error = KitError
    record_hint = _HINT


@dataclass(frozen=True, slots=True, kw_only=True)
class KitFile(_Part):
    """A file of the kit.

    Attributes:
        path: path relative to the kit's folder.
        bytes: size in bytes.
        sha256: SHA-256 in hexadecimal.
    """

    path: KitPath
    bytes: Count
    sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class KitForm(_Part):
    """A form of the network, an ONNX file.

    Attributes:
        name: name of the form, such as ``float32-b1``.
        file: path of the ONNX file.
        precision: precision of the weights and of the computation that the graph asks for.
        layout: ``image`` for uint8 BGR (N, H, W, 3), normalized in the graph; ``nchw`` for float32 (N, 3, H, W),
            normalized by the caller.
        batch: number of crops that the input is fixed to; None if any number is accepted.
        input_name: name of the graph's input.
        output_name: name of the graph's output.
        outputs: path of the raw outputs (N, D) float32 that this form must give.
        bounds: limits of the difference from those outputs, on another machine or runtime.
    """

    name: Annotated[str, Pattern(_PART, "such as 'float32-b1'")]
    file: KitPath
    precision: Precision
    layout: Layout
    batch: Annotated[int, Between(1, MAX_CROPS)] | None
    input_name: _Words
    output_name: _Words
    outputs: KitPath
    bounds: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class KitCrop(_Part):
    """A golden crop, in every layout that tools of vendors read.

    Attributes:
        source: origin in words, such as ``seeded noise``.
        person: person that the crop shows, for genuine and impostor pairs; None if unknown.
        uint8: path of a ``.bin`` file: uint8 BGR, (1, H, W, 3).
        float32: path of a ``.bin`` file: float32 little-endian, normalized, (1, 3, H, W).
    """

    source: _Words
    person: _Words | None
    uint8: KitPath
    float32: KitPath


@dataclass(frozen=True, slots=True, kw_only=True)
class KitMistake(_Part):
    """What the network gives if its input is prepared in a wrong way.

    Attributes:
        names: the mistake; two if both were made at once.
        how: how exactly the input was prepared, in words.
        outputs: path of the raw outputs (N, D) float32.
    """

    names: Annotated[tuple[MistakeName, ...], Length(2, 1)]
    how: _Words
    outputs: KitPath


@dataclass(frozen=True, slots=True, kw_only=True)
class KitReference(_Part):
    """What computed the expected outputs.

    Attributes:
        name: name of the implementation, such as ``numpy``.
        version: its version.
        source: what it read: the checkpoint, or the ONNX file.
    """

    name: _Words
    version: _Words
    source: Literal["checkpoint", "onnx"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KitManifest(_Part):
    """Manifest of a proof kit.

    Attributes:
        kind: identifies the file as the manifest of a kit.
        schema_version: version of this record.
        made_by: version of the exporter that made the kit.
        spec: specification of the float model.
        fingerprint: digest of the embeddings that the float model makes.
        forms: forms of the network, the float form first.
        crops: golden crops, in the order of all arrays.
        crops_uint8: path of all crops in one ``.npy`` file: uint8 BGR (N, H, W, 3).
        crops_float32: path of all crops in one ``.npy`` file: float32 (N, 3, H, W), normalized.
        reference: what computed the expected outputs.
        outputs: path of the expected raw outputs, ``.npy`` float32 (N, D).
        embeddings: path of the expected embeddings, ``.npy`` float32 (N, D), rows of length 1.
        bounds: limits of the difference from ``outputs`` for a device that computes in a precision, by precision.
        mistakes: outputs of the network for wrongly prepared crops.
        files: every file of the kit except the manifest, by path.
    """

    kind: Literal["edge_sphereface.kit"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    made_by: _Words
    spec: ModelSpec
    fingerprint: Annotated[str, Pattern(r"esf1-[0-9a-f]{32}", "of a fingerprint's digest")]
    forms: Annotated[tuple[KitForm, ...], Length(32, 1)]
    crops: Annotated[tuple[KitCrop, ...], Length(MAX_CROPS, 2)]
    crops_uint8: KitPath
    crops_float32: KitPath
    reference: KitReference
    outputs: KitPath
    embeddings: KitPath
    bounds: dict[str, Bounds]
    mistakes: Annotated[tuple[KitMistake, ...], Length(64)]
    files: tuple[KitFile, ...]

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        cls._require_kind(values, KIND, SCHEMA_VERSION)
        return values

    def _faults(self) -> Iterator[str]:
        if max(self.spec.input_height, self.spec.input_width) > MAX_CROP_SIDE // 4:
            yield f"crops must have sides of at most {MAX_CROP_SIDE // 4} pixels, not {self.spec.crop_shape}"
        if len(self.crops) * self.spec.embedding_size > _MOST_VALUES:
            yield f"the outputs of all crops must have at most {_MOST_VALUES} values"
        for what, names in (
            ("forms", [form.name for form in self.forms]),
            ("mistakes", [mistake.outputs for mistake in self.mistakes]),
            ("files", [file.path.casefold() for file in self.files]),
        ):
            if len(set(names)) < len(names):
                yield f"{what} must be different ones"
        if set(self.bounds) != set(PRECISIONS):
            yield f"bounds must be of {', '.join(PRECISIONS)}, not of {_listed(self.bounds)}"
        for which, bounds in (
            *((one, self.bounds[one]) for one in PRECISIONS if one in self.bounds),
            *((form.precision, form.bounds) for form in self.forms),
        ):
            yield from lax_bounds(which, bounds)
        listed = {file.path for file in self.files}
        missing = [path for path in self._named() if path not in listed]
        if missing:
            yield f"files must list {missing[0]}, which the manifest names"

    def _named(self) -> Iterator[str]:
        yield from (self.crops_uint8, self.crops_float32, self.outputs, self.embeddings)
        for form in self.forms:
            yield from (form.file, form.outputs)
        for crop in self.crops:
            yield from (crop.uint8, crop.float32)
        yield from (mistake.outputs for mistake in self.mistakes)

    def form(self, name: str) -> KitForm:
        """The form of a name.

        Raises:
            KitError: the kit has no such form.
        """
        for form in self.forms:
            if form.name == name:
                return form
        known = ", ".join(form.name for form in self.forms)
        raise KitError(f"Expected a form of the kit ({known}), got {name:.80}.", hint="name one of those")

    def file(self, path: str) -> KitFile:
        """The entry of a file that the manifest names."""
        return next(file for file in self.files if file.path == path)


def lax_bounds(precision: Precision, bounds: Bounds) -> Iterator[str]:
    """Name what is wrong with bounds that outputs of something else would keep."""
    laxest = LAXEST_BOUNDS[precision]
    if bounds.max_abs_error > laxest.max_abs_error or bounds.min_cosine < laxest.min_cosine:
        yield (
            f"bounds of {precision} must be an error of at most {laxest.max_abs_error:g} and a cosine of at least "
            f"{laxest.min_cosine:g}, not {bounds.max_abs_error:g} and {bounds.min_cosine:g}"
        )


def _listed(names: Iterable[str]) -> str:
    return shown(", ".join(sorted(names))) or "nothing"


def read_kit_manifest(kit: Path) -> tuple[KitManifest, str]:
    """Read the manifest of a kit.

    Args:
        kit: folder of the kit.

    Returns:
        The manifest, and the SHA-256 of its file in hexadecimal.

    Raises:
        KitError: the folder holds no manifest, or one that this version cannot read.
    """
    content = _FILE.read(kit / MANIFEST)
    return KitManifest.from_json(content, name=f"The kit's manifest {kit / MANIFEST}"), hashlib.sha256(
        content
    ).hexdigest()
