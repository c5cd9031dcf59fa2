"""`embed-folder` that writes a record after every three photographs."""

from functools import partial

import cv2  # noqa: F401 -- what the command imports at its first use
import pyarrow.parquet  # noqa: F401

from edge_sphereface.batch import engines
from edge_sphereface.cli.__main__ import main
from edge_sphereface.inference.telemetry import import_onnxruntime

engines.LocalEngine = partial(engines.LocalEngine, batch=3)
import_onnxruntime()


def run(*words):
    return main(["embed-folder", *words])
