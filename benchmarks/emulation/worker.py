"""Run a model in the emulator. It needs numpy, onnxruntime and this checkout.

Usage: ``python worker.py MODEL.onnx BATCH.npy OUTPUT.npy THREADS [SETTING=VALUE]``
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from edge_sphereface.inference.telemetry import import_onnxruntime

_ERRORS_ONLY = 3


def main(model: str, batch: str, output: str, threads: str, *settings: str) -> None:
    """Run each row of a batch separately, and save the results."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = int(threads)
    for setting in settings:
        options.add_session_config_entry(*setting.split("=", 1))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    np.save(output, np.concatenate([session.run(None, {name: row[None]})[0] for row in np.load(batch)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
