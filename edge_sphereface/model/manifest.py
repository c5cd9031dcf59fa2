"""The manifest of a folder of models: ``SHA256SUMS``, as ``sha256sum`` writes and checks it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.errors import DownloadError
from edge_sphereface.storage.bounded_json import shortened
from edge_sphereface.storage.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MANIFEST = "SHA256SUMS"
MAX_MANIFEST_BYTES = 1 << 16
ONNX_SUFFIX, NCNN_SUFFIX = ".onnx", ".ncnn"
MODEL_SUFFIXES = (ONNX_SUFFIX, NCNN_SUFFIX)
FLOAT = "float"
"""Name of the form whose file name has no form in it."""

_MAX_FILES = 256
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]([^\n]{1,255})")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\.(?i:onnx|ncnn|json|md|txt|png)")
"""Models, certificates, reports and texts. No name leads out of the folder, or is that of a hidden file, a gallery or a
program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file of the folder.

    Attributes:
        name: file name.
        sha256: SHA-256 of the file in hexadecimal.
    """

    name: str
    sha256: str


def write_manifest(files: Iterable[Path]) -> str:
    """Text of the manifest of files in one folder, by name."""
    return "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(files))


def read_manifest(content: bytes, *, place: str) -> tuple[list[ListedFile], list[str]]:
    """Read an untrusted manifest. Empty lines and lines that begin with ``#`` are skipped.

    Args:
        content: content of the file.
        place: where it comes from, for messages.

    Returns:
        The files that belong to a folder of models, and the names of other files, which may hold anything.

    Raises:
        DownloadError: it is not a manifest, lists a file twice, or lists no model.
    """
    files: dict[str, ListedFile] = {}
    others: list[str] = []
    lines = content.decode("utf-8-sig", "replace").splitlines()
    if len(lines) > _MAX_FILES:
        raise _invalid(place, f"it has {len(lines)} lines, and at most {_MAX_FILES} are read")
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise _invalid(place, f"line {number} is not a SHA-256 and a file name: {shortened(line)!r}")
        digest, name = found[1].lower(), found[2].removeprefix("./")
        if not is_file_name(name):
            others.append(shortened(name))
        elif name.casefold() in files:
            raise _invalid(place, f"it lists {name} twice")
        else:
            files[name.casefold()] = ListedFile(name=name, sha256=digest)
    if not any(is_model(file.name) for file in files.values()):
        raise _invalid(place, f"it lists no {' or '.join(MODEL_SUFFIXES)} file")
    return list(files.values()), others


def is_file_name(name: str) -> bool:
    """Whether a file of this name belongs into a folder of models."""
    return _FILE_NAME.fullmatch(name) is not None


def is_model(name: str) -> bool:
    """Whether a file of this name is a model."""
    return name.lower().endswith(MODEL_SUFFIXES)


def form_of(name: str) -> str:
    """Form that the name of a model file states: ``int8`` for ``m.int8.onnx``, ``float`` for ``m.onnx``.

    A model for ncnn has the suffix in its form: ``ncnn`` for ``m.ncnn``.
    """
    return _stem(name).partition(".")[2] or FLOAT


def files_of_form(files: Iterable[ListedFile], form: str) -> list[ListedFile]:
    """The models of a form with their certificates and reports, and the files that belong to no model.

    Raises:
        DownloadError: there is no model of that form.
    """
    every = list(files)
    stems = {_stem(file.name) for file in every if is_model(file.name)}
    forms = {stem: form_of(stem) for stem in stems}
    if form not in forms.values():
        raise DownloadError(
            f"There is no form {shortened(form)!r}: the folder has {', '.join(sorted(set(forms.values())))}.",
            hint="name one of those",
        )

    def is_chosen(file: ListedFile) -> bool:
        owners = [stem for stem in stems if f"{file.name}.".startswith(f"{stem}.")]
        return not owners or forms[max(owners, key=len)] == form

    return [file for file in every if is_chosen(file)]


def _stem(name: str) -> str:
    """What the names of a model and its certificate have in common."""
    return name[: -len(ONNX_SUFFIX)] if name.lower().endswith(ONNX_SUFFIX) else name


def _invalid(place: str, reason: str) -> DownloadError:
    return DownloadError(
        f"{place} is not a list of models and their SHA-256: {reason}.",
        hint=f"name the folder of the models, which holds {MANIFEST}, or one model",
    )
