"""Reference forward pass in MindSpore, which reads the checkpoint itself: the strongest proof of parity."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from export.topology import STRIDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_sphereface.types import Float32Array
    from export.topology import Topology


class MindsporeReference:
    """A ``mindspore.nn.Cell`` of the topology.

    Args:
        checkpoint: checkpoint, which MindSpore reads again from its file.
        topology: topology of its network.
        device: ``CPU`` or ``Ascend``.
        half: compute in float16, as the original evaluation does on Ascend.
    """

    name = "mindspore"

    def __init__(self, checkpoint: Path, topology: Topology, *, device: str = "CPU", half: bool = False) -> None:
        with _interrupt_afterwards():
            self._load(checkpoint, topology, device=device, half=half)

    def _load(self, checkpoint: Path, topology: Topology, *, device: str, half: bool) -> None:
        # MindSpore reads both on import. 3: errors only. AVX2: on some processors with AVX-512 (measured on an
        # AMD EPYC of family 26) its oneDNN falls back to reference code, 80 times slower.
        os.environ.setdefault("GLOG_v", "3")
        os.environ.setdefault("DNNL_MAX_CPU_ISA", "AVX2")
        import mindspore

        self.version: str = mindspore.__version__
        # Op by op, MindSpore takes seconds per crop on a CPU; compiled, milliseconds.
        mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target=device)
        self._mindspore = mindspore
        layers = _layers(mindspore, topology)
        self.cell = _network(mindspore, topology, layers)
        file_format = "safetensors" if checkpoint.suffix.lower() == ".safetensors" else "ckpt"
        loaded = mindspore.load_checkpoint(str(checkpoint), format=file_format)
        for name, stored in topology.parameters.items():
            layer, _, parameter = name.partition(".")
            getattr(layers[layer], parameter).set_data(loaded[stored].astype(mindspore.float32))
        if half:
            self.cell.add_flags_recursive(fp16=True)
        self.cell.set_train(mode=False)

    def forward(self, batch: Float32Array) -> Float32Array:
        """See :class:`export.reference.Reference`."""
        with _interrupt_afterwards():
            output = self.cell(self._mindspore.Tensor(np.ascontiguousarray(batch)))
            return cast("Float32Array", output.asnumpy())


@contextmanager
def _interrupt_afterwards() -> Iterator[None]:
    """Defer Ctrl-C to the end of the block: MindSpore turns it into other errors, or aborts during import."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if arrived:
        raise KeyboardInterrupt


def _layers(mindspore: Any, topology: Topology) -> dict[str, Any]:
    """All layers with parameters, by their names in a checkpoint."""
    nn = mindspore.nn
    layers: dict[str, Any] = {}
    before = 3
    for stage, number in topology.layers:
        width = topology.widths[stage - 1]
        layers[f"conv{stage}_{number}"] = nn.Conv2d(
            before,
            width,
            3,
            stride=2 if number == 1 else 1,
            pad_mode="pad",
            padding=1,
            has_bias=f"conv{stage}_{number}.bias" in topology.parameters,
        )
        layers[f"relu{stage}_{number}"] = nn.PReLU(width)
        before = width
    cells = topology.input_height * topology.input_width // STRIDE**2
    layers["fc5"] = nn.Dense(before * cells, topology.embedding_size)
    return layers


def _network(mindspore: Any, topology: Topology, layers: dict[str, Any]) -> Any:
    nn = mindspore.nn

    class Residual(nn.Cell):  # type: ignore[misc, name-defined]
        def __init__(self, body: Any) -> None:
            super().__init__()
            self.body = body

        def construct(self, value: Any) -> Any:
            return value + self.body(value)

    cells: list[Any] = []
    pair: list[Any] = []
    for stage, number in topology.layers:
        unit = [layers[f"conv{stage}_{number}"], layers[f"relu{stage}_{number}"]]
        if number == 1:
            cells += unit
        elif number % 2 == 0:
            pair = unit
        else:
            cells.append(Residual(nn.SequentialCell(pair + unit)))
    return nn.SequentialCell([*cells, nn.Flatten(), layers["fc5"]])
