"""The original's own program for Ascend 310: ``infer.log`` and ``time_Result/test_perform_static.txt``.

Source: mindspore-ai/models, ``ascend310_infer/src/main.cc`` of each network: the wall time around ``Model::Predict``,
copies included, on one picture after another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import NUMBER
from benchmarks.ascend.row import IMPORTED, LedgerRow, PartialLatency

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording

_MEAN = re.compile(rf"NN inference cost average time: {NUMBER} ?ms of infer_count ([0-9]{{1,9}})(?![\w.,])")


def read(recording: Recording) -> list[LedgerRow]:
    """Read the mean of all calls.

    Raises:
        ImportedError: the file holds several runs, or the mean cannot be a time.
    """
    found = recording.single(_MEAN, "the MindSpore program for Ascend 310")
    if found is None:
        return []
    batch, doubts = recording.batch(None)
    mean = PartialLatency(samples=int(found[2]), mean_ms=recording.time_ms(found[1], "the mean"))
    return [
        LedgerRow(
            path="MindSpore's program for Ascend 310",
            device=recording.stated.device,
            precision=recording.stated.precision,
            batch=batch,
            includes="compute and copies",
            latency=mean,
            origin=IMPORTED,
            source=recording.stated.source,
            doubts=(*doubts, "the mean includes the first call"),
        )
    ]
