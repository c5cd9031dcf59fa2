"""The kit that this file lies in: its manifest and the files that the manifest names."""

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

KIND, VERSION = "edge_sphereface.kit", 1
PRECISIONS = ("float32", "float16", "int8")


class StopError(Exception):
    """Why the program ends, for a person."""


class Kit:
    """This kit: its manifest, and the files that it names, each compared with its SHA-256."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest.

        Raises:
            StopError: it is missing, or of another kind.
        """
        self.folder = folder
        if not (folder / "manifest.json").is_file():
            raise StopError(f"{folder} is not the folder of a kit: it has no file manifest.json")
        try:
            with (folder / "manifest.json").open("rb") as stream:
                content = stream.read()
            self.manifest: Dict[str, Any] = json.loads(content)
            kind = self.manifest["kind"], self.manifest["schema_version"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StopError(f"the kit's manifest.json cannot be read: {error}") from error
        if kind != (KIND, VERSION):
            raise StopError(f"expected a kit {KIND} of version {VERSION}, got {kind}")
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            self.crop = _require_manifest(self.manifest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise StopError(f"the kit's manifest.json lacks what it must hold: {reason}; copy the kit again") from error

    def path(self, name: str) -> Path:
        """Path of a file of the kit, which is as the manifest says."""
        listed = next((file for file in self.manifest["files"] if file["path"] == name), None)
        path = self.folder / name
        if listed is None or not is_inside(path, self.folder):
            raise StopError(f"the kit's manifest.json names {name}, which is not a file of the kit")
        if not path.is_file():
            raise StopError(f"the kit has no file {name}; copy the kit again")
        try:
            found = sha256_of(path)
        except OSError as error:
            raise StopError(f"{name} of the kit cannot be read: {error}") from error
        if found != listed["sha256"]:
            raise StopError(f"{name} is damaged: its SHA-256 is not that of the manifest; copy the kit again")
        return path

    def array(self, name: str) -> Any:
        """An array of the kit."""
        return np.load(str(self.path(name)))

    def form(self, name: Optional[str], suffixes: Sequence[str]) -> Dict[str, Any]:
        """The form of a name; without one, what runs as it is, or what converters take."""
        forms: List[Dict[str, Any]] = self.manifest["forms"]
        if name is not None:
            for form in forms:
                if form["name"] == name:
                    return form
            raise StopError(f"expected a form of {', '.join(form['name'] for form in forms)}, got {name}")
        if ".onnx" in suffixes:
            return forms[0]
        return next((form for form in forms if form["batch"] == 1 and form["layout"] == "nchw"), forms[0])

    def inputs(self, layout: str, dtype: str) -> List[Any]:
        """The golden crops as a runtime takes them, each (1, …).

        Args:
            layout: ``uint8`` for pixels, ``nchw`` or ``nhwc`` for normalized numbers.
            dtype: type of normalized numbers.
        """
        if layout == "uint8":
            crops = self.array(self.manifest["crops_uint8"])
        else:
            crops = self.array(self.manifest["crops_float32"]).astype(dtype)
            if layout == "nhwc":
                crops = crops.transpose(0, 2, 3, 1)
        return [np.ascontiguousarray(crop[None]) for crop in crops]

    def expected(self, form: Dict[str, Any], precision: str) -> Tuple[Any, Dict[str, float]]:
        """Expected outputs, and the bounds of the difference from them."""
        if precision == form["precision"]:
            return self.array(form["outputs"]), form["bounds"]
        return self.array(self.manifest["outputs"]), self.manifest["bounds"][precision]


def _require_manifest(manifest: Dict[str, Any]) -> Tuple[int, int, int]:
    """The shape of a crop.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: something that this program reads is missing, or of another
            kind.
    """
    texts = [manifest[name] for name in ("crops_uint8", "crops_float32", "outputs")]
    bounds = [manifest["bounds"][precision] for precision in PRECISIONS]
    for form in manifest["forms"]:
        texts += [form[name] for name in ("name", "file", "layout", "outputs")]
        bounds.append(form["bounds"])
        if form["precision"] not in PRECISIONS:
            raise ValueError(f"a form has the precision {form['precision']!r}")
        if not isinstance(form["batch"], (int, type(None))):
            raise TypeError("the batch of a form is not a number")
    for file in manifest["files"]:
        texts += [file["path"], file["sha256"]]
    if not manifest["forms"]:
        raise ValueError("there is no form")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name of a form or file is not a text")
    if not all(0 < bound["min_cosine"] <= 1 and 0 <= bound["max_abs_error"] < 1 for bound in bounds):
        raise ValueError("any output keeps a bound")
    height, width = manifest["spec"]["input_height"], manifest["spec"]["input_width"]
    if not (isinstance(height, int) and isinstance(width, int)):
        raise TypeError("the size of a crop is not a number")
    return height, width, 3


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, also where links are followed."""
    return folder.resolve() in path.resolve().parents


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for part in iter(lambda: stream.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()
