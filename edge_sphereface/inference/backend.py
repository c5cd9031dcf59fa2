"""What runs a network: onnxruntime, or ncnn for the files that are made for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.inference.session import CPU, is_auto, open_session
from edge_sphereface.model.ncnn_file import is_ncnn_file
from edge_sphereface.model.quantization import is_for_cpu_provider
from edge_sphereface.model.spec import LAYOUT_IMAGE, ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from edge_sphereface.inference.session import ProviderReport, SessionConfig
    from edge_sphereface.types import Float32Array


class Backend(Protocol):
    """A loaded network. Safe to use from several threads.

    Attributes:
        spec: specification of the model.
        provider: what the network runs on.
    """

    spec: ModelSpec
    provider: ProviderReport

    def run(self, batch: np.ndarray[Any, Any]) -> Float32Array:
        """Compute the raw output of the network.

        Args:
            batch: (N, ...) input as the specification's layout has it; N is at least 1.

        Returns:
            (N, D) float32.
        """
        ...


def open_backend(model: Path, config: SessionConfig) -> Backend:
    """Load a model with what runs it. ncnn is imported for its own files only.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelFormatError: the file is not a model, or has no ``ModelSpec`` that this version reads.
        ProviderError: the execution provider is absent, or does not run the model.
        ExtraError: the model is for ncnn, which is not installed.
    """
    if not is_ncnn_file(model):
        return OnnxBackend(model, config)
    from edge_sphereface.inference.ncnn_backend import NcnnBackend

    return NcnnBackend(model, config)


class OnnxBackend:
    """A network on onnxruntime."""

    def __init__(self, model: Path, config: SessionConfig) -> None:
        self._session, self.provider = open_session(model, config)
        self.spec = ModelSpec.from_metadata(self._session.get_modelmeta().custom_metadata_map)
        record = self.spec.quantization
        if is_auto(config) and self.provider.active[0] != CPU and record and is_for_cpu_provider(record.target):
            del self._session
            self._session, report = open_session(model, replace(config, provider=CPU, provider_options={}))
            self.provider = replace(report, requested=config.provider)
        _check_interface(self._session, self.spec)
        self._input_name: str = self._session.get_inputs()[0].name

    def run(self, batch: np.ndarray[Any, Any]) -> Float32Array:
        """See :meth:`Backend.run`."""
        return cast("Float32Array", self._session.run(None, {self._input_name: batch})[0])


def _check_interface(session: Any, spec: ModelSpec) -> None:
    """Require inputs and outputs of the graph to match the specification."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    height, width, channels = spec.crop_shape
    shape, kind = (
        ([height, width, channels], "tensor(uint8)")
        if spec.input_layout == LAYOUT_IMAGE
        else ([channels, height, width], "tensor(float)")
    )
    if (
        len(inputs) != 1
        or len(outputs) != 1
        or inputs[0].type != kind
        or inputs[0].shape[1:] != shape
        or outputs[0].shape[1:] != [spec.embedding_size]
    ):
        found = [(value.name, value.type, value.shape) for value in (*inputs, *outputs)]
        raise ModelFormatError(
            f"The model's graph does not match its specification: expected one input {kind} (N, {shape}) and one "
            f"output (N, {spec.embedding_size}), got {found}.",
            hint="convert the checkpoint again",
        )
