"""Commands and options of the command line that do what an error of the library recommends."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.errors import EdgeSphereFaceError, Remedy

_CONVERT = "python -m export convert"
COMMANDS: dict[Remedy, str] = {
    "add-token": "edge-sphereface tokens add FILE NAME --scopes SCOPE",
    "allow-cpu-fallback": "--allow-cpu-fallback",
    "bring-file": "--from FILE",
    "bring-models": "edge-sphereface fetch-model FOLDER",
    "calibrate-liveness": "edge-sphereface calibrate-liveness",
    "calibrate-threshold": "edge-sphereface calibrate-threshold",
    "change-detector": "--detector NAME",
    "change-engine": "--engine local",
    "check-cluster": "--ray-address ADDRESS",
    "convert-liveness": "python -m export fetch minifasnet-v2, then python -m export liveness minifasnet-v2 -o "
    "minifasnet-v2.onnx (see docs/liveness.md)",
    "convert-model": f"{_CONVERT} CHECKPOINT -o MODEL.onnx",
    "create-gallery": "edge-sphereface enroll",
    "delete-shared-files": "--shared",
    "fetch-detector": "edge-sphereface fetch-detector, or --detector-model FILE",
    "fix-threshold": "identify and watch with --threshold VALUE (docs/gallery.md#few-people)",
    "get-model": "edge-sphereface fetch-model FOLDER, or make model in a checkout",
    "give-key": "--key-file FILE",
    "import-gallery": "edge-sphereface gallery import",
    "keep-crops": "--keep-crops",
    "list-identities": "edge-sphereface gallery list",
    "list-strangers": "edge-sphereface strangers list",
    "make-key": "edge-sphereface gallery new-key FILE",
    "merge-identities": "--existing skip, or --existing add",
    "overwrite": "--overwrite",
    "quantize-model": "python -m export quantize MODEL.onnx",
    "rebuild-gallery": "edge-sphereface gallery rebuild (of a gallery enrolled with --keep-crops)",
    "reduce-threads": "--threads N, without --pinned-threads",
    "reduce-workers": "--workers N, --threads N",
    "select-largest": "--largest",
    "tune-model": "python -m export tune MODEL.onnx",
    "update-result": "--update, or --overwrite",
    "use-tokens": "serve --tokens FILE, watch --tokens FILE",
    "verify-conversion": "python -m export verify MODEL.onnx --checkpoint CHECKPOINT",
    "verify-model": "edge-sphereface verify-model",
}
"""What to type for each remedy; it is appended to the hint."""


_OF_GALLERIES: tuple[Remedy, ...] = ("calibrate-threshold", "list-identities")
"""Their commands take the gallery that was given."""


def hint_of(error: EdgeSphereFaceError, *, gallery: str = "") -> str:
    """The hint of an error, with the command or the option that does what it recommends.

    Args:
        error: the error.
        gallery: where the gallery of the command line is; empty if none was given.
    """
    of_gallery = error.remedy in _OF_GALLERIES
    return advice(error.hint, error.remedy, gallery if of_gallery else error.file)


def advice(hint: str, remedy: Remedy | None, subject: str = "") -> str:
    """A recommendation with the command or the option that does it.

    Args:
        hint: the recommendation.
        remedy: stable name of what it recommends; None if there is none.
        subject: the file that the remedy applies to, or the scope of a token; empty if it is not tied to one.
    """
    if remedy is None:
        return hint
    command = COMMANDS[remedy]
    if remedy == "add-token" and subject:
        command = command.replace("SCOPE", subject)
    if remedy == "convert-model" and subject:
        command = f"{_CONVERT} {shlex.quote(subject)} -o {shlex.quote(Path(subject).with_suffix('.onnx').name)}"
    if remedy == "verify-model" and subject:
        command = f"{command} {shlex.quote(subject)}"
    if remedy in _OF_GALLERIES and subject:
        command = f"{command} --gallery {shlex.quote(subject)}"
    if remedy == "list-strangers" and subject:
        command = f"{command} --strangers {shlex.quote(subject)}"
    return f"{hint}: {command}"
