"""Detect an Ascend NPU and the software that can use it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.inference.telemetry import import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping


CANN = "CANNExecutionProvider"


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Ascend hardware and software of this machine.

    Attributes:
        npu_smi: path of the program ``npu-smi``; None if missing.
        devices: device files ``/dev/davinci*``.
        ascend_home: ``ASCEND_HOME_PATH``, set by CANN's environment script; None if not set.
        mindspore: whether MindSpore can be imported.
        mindspore_lite: whether MindSpore Lite can be imported.
        cann_provider: whether this onnxruntime has the CANN provider.
        has_npu: whether a run with ``device_target="Ascend"`` is possible.
    """

    npu_smi: str | None
    devices: tuple[str, ...]
    ascend_home: str | None
    mindspore: bool
    mindspore_lite: bool
    cann_provider: bool
    has_npu: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_npu", bool(self.devices) and self.ascend_home is not None and self.mindspore)

    def sentence(self) -> str:
        """Describe the available or the missing parts in one sentence."""
        if self.has_npu:
            return f"Ascend NPU: {', '.join(self.devices)}, CANN in {self.ascend_home}."
        missing = [
            name
            for name, here in {
                "npu-smi": self.npu_smi,
                "/dev/davinci*": self.devices,
                "ASCEND_HOME_PATH": self.ascend_home,
                "MindSpore": self.mindspore,
            }.items()
            if not here
        ]
        return f"No Ascend NPU can be used here (missing: {', '.join(missing)}), so nothing native was measured on one."


def probe(root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> Presence:
    """Detect an NPU and its software.

    Args:
        root: folder that contains ``dev``.
        environment: environment variables; None for those of this process.
    """
    variables = os.environ if environment is None else environment
    return Presence(
        npu_smi=shutil.which("npu-smi", path=variables.get("PATH")),
        devices=tuple(f"/dev/{path.name}" for path in sorted((root / "dev").glob("davinci[0-9]*"))),
        ascend_home=variables.get("ASCEND_HOME_PATH"),
        mindspore=find_spec("mindspore") is not None,
        mindspore_lite=find_spec("mindspore_lite") is not None,
        cann_provider=CANN in import_onnxruntime().get_available_providers(),
    )
