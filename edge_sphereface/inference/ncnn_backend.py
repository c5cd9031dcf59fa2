"""Runs a network on ncnn, one crop after another: extra ``ncnn``. Imported only when such a file is opened.

ncnn has kernels for Arm that onnxruntime lacks. It has no batches and no execution providers;
its Vulkan path stays off.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sphereface.cpu import usable_cpus
from edge_sphereface.errors import ExtraError, ModelFormatError, ProviderError
from edge_sphereface.extras import install_command
from edge_sphereface.inference.session import AUTO, CPU, ProviderReport
from edge_sphereface.model.ncnn_file import read_ncnn_model
from edge_sphereface.model.ncnn_network import HALF_PRECISIONS, INPUT, LARGE_TILES, OUTPUT

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.inference.session import SessionConfig
    from edge_sphereface.types import Float32Array

NCNN = "ncnn"
"""Name in place of an execution provider's."""
_PROVIDERS = (AUTO, "cpu", CPU.lower())


class _ThreadPool:
    """ncnn's threads, which are one pool for a process and do not survive its fork: a child would wait for ever."""

    def __init__(self) -> None:
        self._process: int | None = None

    def use(self) -> None:
        """Note that this process uses the threads.

        Raises:
            ProviderError: a parent of this process used them before the fork.
        """
        if self._process is None:
            self._process = os.getpid()
        elif self._process != os.getpid():
            raise ProviderError(
                "ncnn ran with several threads before this process was forked, and its threads do not survive that.",
                hint="start processes by 'spawn', embed in the children only, or use one thread",
            )


_POOL = _ThreadPool()


class NcnnBackend:
    """A network on ncnn. Safe to use from several threads.

    Args:
        model: path of a file ``.ncnn``.
        config: options; ncnn takes the threads.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelFormatError: the file is damaged, or holds another network.
        ProviderError: the options name an execution provider, or options of onnxruntime.
        ExtraError: ncnn is not installed.
    """

    def __init__(self, model: Path, config: SessionConfig) -> None:
        _check_options(model, config)
        try:
            str(model).encode()
        except UnicodeEncodeError as error:
            raise ModelFormatError(
                f"The name {str(model)!r} is not in UTF-8, as ncnn takes it.", hint="rename the file"
            ) from error
        checked = read_ncnn_model(model)  # ncnn itself reads beyond its buffers where a file is damaged
        ncnn = import_ncnn()
        threads = config.threads or usable_cpus()
        is_half = checked.spec.precision in HALF_PRECISIONS and bool(ncnn.cpu_support_arm_asimdhp())
        self._threads = threads
        self._mat = ncnn.Mat
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        options.use_vulkan_compute = False
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = is_half
        if is_half and checked.spec.precision != LARGE_TILES:
            # Sums of larger Winograd tiles lose more than the bounds of float16. Least cosine of golden inputs, network
            # of the project, emulated Cortex-A76: 0.9984 with tiles of 6 x 6, 0.99989 with 4 x 4, 0.99997 with 2 x 2
            options.use_winograd63_convolution = options.use_winograd43_convolution = False
        if self._net.load_param_mem(checked.network.text) or self._net.load_model(str(model)):
            raise ModelFormatError(f"ncnn cannot load {model}.", hint="make the file again")
        self.spec = checked.spec
        self.provider = ProviderReport(
            requested=config.provider,
            active=(NCNN,),
            nodes={NCNN: checked.network.layers},
            threads=threads,
            onnxruntime=None,
            ncnn=ncnn.__version__,
            arithmetic="float16" if is_half else "float32",
        )

    def run(self, batch: np.ndarray[Any, Any]) -> Float32Array:
        """See :meth:`edge_sphereface.inference.backend.Backend.run`.

        Raises:
            ProviderError: several threads were used before this process was forked.
        """
        if self._threads > 1:
            _POOL.use()
        output = np.empty((len(batch), self.spec.embedding_size), dtype=np.float32)
        for planes, row in zip(np.ascontiguousarray(batch), output, strict=True):
            extractor = self._net.create_extractor()
            failed = extractor.input(INPUT, self._mat(planes))  # without a copy: `planes` outlives the extractor
            code, features = extractor.extract(OUTPUT)
            if failed or code:
                raise RuntimeError(f"ncnn returned {failed or code}, for want of memory")
            row[:] = np.asarray(features)
        return output


def _check_options(model: Path, config: SessionConfig) -> None:
    if config.provider.lower() not in _PROVIDERS:
        raise ProviderError(
            f"The execution provider {config.provider!r} cannot run {model.name}: ncnn runs it, on the CPU.",
            hint="use an ONNX file of the network for this provider, or provider 'auto' or 'cpu'",
        )
    if config.pinned_threads or config.memory_arena or config.spinning or config.provider_options:
        raise ProviderError(
            f"{model.name} is run by ncnn, which has no pinned threads, memory arena, spinning or provider options.",
            hint="leave out these options of onnxruntime, or use an ONNX file of the network",
        )


def import_ncnn() -> Any:
    """Import ncnn.

    Raises:
        ExtraError: it is not installed.
    """
    try:
        import ncnn
    except ImportError as error:
        raise ExtraError(f"A model for ncnn needs the package ncnn: {error}.", hint=install_command("ncnn")) from error
    return ncnn
