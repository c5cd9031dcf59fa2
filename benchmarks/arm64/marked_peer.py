"""Run inferences of a contender between marks that a plugin of the emulator detects, and keep its output.

Usage: ``python marked_peer.py JOB.json``. It needs numpy, the packages of the contender and this checkout. On this
machine it converts the model, which the emulated core then finds in the folder of the job.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.arm64.marked import mark
from benchmarks.contenders.contender import Precision, Setup
from benchmarks.worker import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerJob(Message):
    """What runs between the marks.

    Attributes:
        contender: name of the contender's module.
        model: path of the model.
        precision: precision in which the contender computes a float model.
        folder: folder of converted models.
        crops: path of the crops (.npy), (N, H, W, 3) uint8 BGR; the first one is used.
        floats: path of the same crops (.npy), (N, 3, H, W) float32, normalized.
        output: path of the embedding (.npy) to write, (D,) float32.
        version: path of the text with the contender's version to write.
    """

    contender: str
    model: str
    precision: Precision
    folder: str
    crops: str
    floats: str
    output: str
    version: str


def main(text: str) -> None:
    """Run two inferences on one thread, with a mark before, between and after them."""
    job = PeerJob.from_json(text)
    crops, floats = np.load(job.crops)[:1], np.load(job.floats)[:1]
    setup = Setup(
        threads=1,
        batch=1,
        height=floats.shape[2],
        width=floats.shape[3],
        folder=Path(job.folder),
        precision=job.precision,
    )
    contender = import_module(f"benchmarks.contenders.{job.contender}").Contender(Path(job.model), setup)
    prepared = contender.prepare(crops, floats)
    mark()
    contender.run(prepared)
    mark()
    output = contender.run(prepared)
    mark()
    np.save(job.output, np.asarray(output, dtype=np.float32).reshape(-1))
    Path(job.version).write_text(contender.version, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text(encoding="utf-8"))
