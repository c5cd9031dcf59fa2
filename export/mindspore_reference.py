"""The network in MindSpore, loading the checkpoint by MindSpore's own reader: the strongest proof there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from export.errors import ParityError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.types import Float32Array
    from export.topology import Topology


class MindsporeReference:
    """A ``mindspore.nn.Cell`` of the topology, on the CPU.

    Raises:
        ParityError: MindSpore does not load the checkpoint into it.
    """

    name = "mindspore"

    def __init__(self, checkpoint: Path, topology: Topology) -> None:
        os.environ.setdefault("GLOG_v", "3")  # MindSpore reads it when it is loaded; 3 is errors only
        import mindspore

        self.version: str = mindspore.__version__
        self._mindspore = mindspore
        self._cell = _network(mindspore, topology)
        file_format = "safetensors" if checkpoint.suffix.lower() == ".safetensors" else "ckpt"
        loaded = mindspore.load_checkpoint(str(checkpoint), format=file_format)
        values = {
            name: mindspore.Parameter(loaded[source].astype(mindspore.float32), name=name)
            for name, source in topology.parameters.items()
        }
        missing, unused = mindspore.load_param_into_net(self._cell, values, strict_load=True)
        if missing or unused:
            raise ParityError(f"MindSpore did not load the checkpoint into the network: {missing} {unused}.")
        self._cell.set_train(mode=False)

    def forward(self, batch: Float32Array) -> Float32Array:
        """See :class:`export.reference.Reference`."""
        output = self._cell(self._mindspore.Tensor(np.ascontiguousarray(batch)))
        return cast("Float32Array", output.asnumpy())


def _network(mindspore: Any, topology: Topology) -> Any:  # noqa: ANN401 -- MindSpore has no types
    nn = mindspore.nn

    class SphereFace(nn.Cell):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            # Operators and not methods: `+` and `reshape` of its tensors look for numpy 1, which MindSpore 2.10 was built against.
            self.add = mindspore.ops.Add()
            self.flatten = nn.Flatten()
            before = 3
            for stage, number in topology.layers:
                width = topology.widths[stage - 1]
                convolution = nn.Conv2d(
                    before,
                    width,
                    3,
                    stride=2 if number == 1 else 1,
                    pad_mode="pad",
                    padding=1,
                    has_bias=f"conv{stage}_{number}.bias" in topology.parameters,
                )
                setattr(self, f"conv{stage}_{number}", convolution)
                setattr(self, f"relu{stage}_{number}", nn.PReLU(width))
                before = width
            cells = topology.input_height * topology.input_width // 256
            self.fc5 = nn.Dense(topology.widths[-1] * cells, topology.embedding_size)

        def construct(self, value: Any) -> Any:  # noqa: ANN401
            shortcut = value
            for stage, number in topology.layers:
                if number % 2 == 0:
                    shortcut = value
                value = getattr(self, f"relu{stage}_{number}")(getattr(self, f"conv{stage}_{number}")(value))
                if number > 1 and number % 2 == 1:
                    value = self.add(value, shortcut)
            return self.fc5(self.flatten(value))

    return SphereFace()
