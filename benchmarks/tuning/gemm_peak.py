"""Peak rate of matrix products on this machine, the limit of direct convolution.

Usage: ``python gemm_peak.py`` prints the milliseconds of each product; the environment sets the number of threads.
"""

from __future__ import annotations

import json
import time

import numpy as np

SIZE = 1024
_ROUNDS = 30


def main() -> None:
    """Time products of square matrices."""
    left, right = np.ones((2, SIZE, SIZE), dtype=np.float32)
    out = np.empty_like(left)
    samples = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        np.matmul(left, right, out=out)
        samples.append((time.perf_counter() - start) * 1e3)
    print(json.dumps(samples))  # noqa: T201 -- this is how it answers


if __name__ == "__main__":
    main()
