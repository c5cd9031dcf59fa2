"""Run inferences of a network of ncnn's benchmark between marks, with zeros as weights, as ``benchncnn`` does.

Usage: ``python marked_ncnn.py GRAPH.param PRECISION``. It needs numpy, ncnn and this checkout.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.arm64.marked import mark


def main(graph: str, precision: str) -> None:
    """Run two inferences on one thread, with a mark before, between and after them."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = precision == "float16"
    lines = Path(graph).read_text(encoding="ascii").splitlines()
    if net.load_param(graph) or net.load_model(ncnn.DataReaderFromEmpty()):
        raise RuntimeError(f"ncnn does not load {graph}")
    side = int(lines[2].split("0=")[1].split()[0])
    picture = ncnn.Mat(np.zeros((3, side, side), dtype=np.float32)).clone()

    def run() -> None:
        extractor = net.create_extractor()
        extractor.input(lines[2].split()[4], picture)
        extractor.extract(lines[-1].split()[5])

    mark()
    run()
    mark()
    run()
    mark()


if __name__ == "__main__":
    main(*sys.argv[1:])
