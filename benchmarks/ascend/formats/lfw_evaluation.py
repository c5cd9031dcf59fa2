"""The original's evaluation on LFW: ``LFWACC=… std=… thd=…``.

Source: mindspore-ai/models, research/cv/sphereface, ``eval.py`` and ``postprocess.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import NUMBER, ImportedError
from benchmarks.ascend.row import IMPORTED, LedgerRow

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording

_LFW = re.compile(rf"LFWACC={NUMBER}\s+std={NUMBER}\s+thd={NUMBER}")


def read(recording: Recording) -> list[LedgerRow]:
    """Read the accuracy.

    Raises:
        ImportedError: the file holds several evaluations, or the accuracy is not a share.
    """
    found = recording.single(_LFW, "the original's evaluation")
    if found is None:
        return []
    names = ("LFWACC", "std", "thd")
    accuracy, std, threshold = map(recording.number, found.groups(), names)
    if not 0 <= accuracy <= 1:
        raise ImportedError(
            f"{recording.name} has {accuracy:g} as LFWACC; expected a share from 0 to 1.", hint="record the run again"
        )
    return [
        LedgerRow(
            path="original evaluation",
            device=recording.stated.device,
            precision=recording.stated.precision,
            accuracy=accuracy,
            accuracy_std=std,
            threshold=threshold,
            origin=IMPORTED,
            source=recording.stated.source,
        )
    ]
