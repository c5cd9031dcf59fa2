"""The original's program with MxBase (MindX SDK): ``[Process Delay] cost: … ms fps: … imgs/sec``.

Source: mindspore-ai/models, ``infer/mxbase/src``. SphereFace's ``SphereFaceOpencv.cpp`` adds the time of each
inference to the same sum in ``Inference`` and again in ``Process``; ``fps`` divides by that sum. The row keeps what is
printed and says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import NUMBER
from benchmarks.ascend.row import IMPORTED, LedgerRow

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording

_TWICE = (
    "SphereFace's MxBase program adds the time of each inference twice and divides by the sum: the true rate is about "
    "twice as high"
)
_DELAY = re.compile(rf"\[Process Delay\] cost: ?{NUMBER} ms\s+fps: {NUMBER} ?imgs/sec")


def read(recording: Recording) -> list[LedgerRow]:
    """Read the rate.

    Raises:
        ImportedError: the file holds several runs, or a figure cannot be a time or a rate.
    """
    found = recording.single(_DELAY, "MxBase")
    if found is None:
        return []
    whole_ms = recording.time_ms(found[1], "the whole run")
    batch, doubts = recording.batch(None)
    return [
        LedgerRow(
            path="MxBase",
            device=recording.stated.device,
            precision=recording.stated.precision,
            batch=batch,
            includes="compute and copies",
            faces_per_second=recording.rate(found[2], "fps"),
            origin=IMPORTED,
            source=recording.stated.source,
            doubts=(
                *doubts,
                _TWICE,
                f"the whole run took {whole_ms:g} ms, with reading, decoding and writing files",
            ),
        )
    ]
