"""Files that a kit takes along for devices: instructions, and the vendors' own commands, filled in for a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sphereface.kit.manifest import KitForm
    from edge_sphereface.model.spec import ModelSpec

_FOLDER = Path(__file__).with_name("device")
_PLACE = re.compile(r"@([A-Z0-9_]+)@")
_PROGRAM = b"#!"


class DeviceFile(NamedTuple):
    """A file of the kit.

    Attributes:
        path: path relative to the kit's folder.
        content: content of the file.
        is_program: whether it can be run.
    """

    path: str
    content: bytes
    is_program: bool


def device_files(spec: ModelSpec, forms: Sequence[KitForm]) -> Iterator[DeviceFile]:
    """Fill in the files for a network; ``@NAME@`` in them stands for a value.

    Args:
        spec: specification of the float model.
        forms: forms that the kit holds.
    """
    values = {
        "ARCHITECTURE": spec.architecture,
        "DEVIATION": f"{1 / spec.pixel_scale:.9g}",
        "FORMS": ", ".join(form.name for form in forms),
        "HEIGHT": str(spec.input_height),
        "INPUT": next((form.input_name for form in forms if form.layout == "nchw"), "input"),
        "MEAN": f"{spec.pixel_mean:.9g}",
        "SCALE": f"{spec.pixel_scale:.9g}",
        "SHA256": spec.source_sha256,
        "SIZE": str(spec.embedding_size),
        "SOURCE": spec.source_file,
        "VERSION": __version__,
        "WIDTH": str(spec.input_width),
    }
    for path in sorted(_FOLDER.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            with path.open("rb") as stream:
                text = stream.read().decode()
            content = _PLACE.sub(lambda found: values[found[1]], text).encode()
            yield DeviceFile(path.relative_to(_FOLDER).as_posix(), content, content.startswith(_PROGRAM))
