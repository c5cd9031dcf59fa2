"""Cases that ``arm64 peers`` leaves out, with the reasons."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.arm64.cores import CORES

if TYPE_CHECKING:
    from collections.abc import Collection

    from benchmarks.arm64.peers import PeerCase

OURS = "edge"
"""Name of the contender that is this project's runtime."""
_FORM = re.compile(r"([^@:=]+)@([^@:=]+)(?::([^@:=]+))?=(.*\S.*)")


@dataclass(frozen=True, slots=True)
class Skip:
    """Cases to leave out.

    Attributes:
        contender: name of the contender's module.
        processor: name of the core.
        what: precision in which the model is computed, or file name of the model; empty for every case.
        reason: why.
    """

    contender: str
    processor: str
    what: str
    reason: str

    def covers(self, case: PeerCase) -> bool:
        """Whether a case is left out."""
        is_named = (case.contender, case.processor) == (self.contender, self.processor)
        return is_named and self.what in ("", case.row_precision, case.model.name)


def parse_skip(text: str, *, contenders: Collection[str]) -> Skip:
    """Parse ``CONTENDER@CORE[:WHAT]=REASON``, such as ``openvino@cortex-a53:int8=it takes an hour``.

    Raises:
        argparse.ArgumentTypeError: the text has another form, or names an unknown contender or core.
    """
    found = _FORM.fullmatch(text)
    if found is None or found[1] not in contenders or found[2] not in CORES:
        raise argparse.ArgumentTypeError(
            f"expected CONTENDER@CORE[:PRECISION or FILE]=REASON with a contender of {', '.join(contenders)} "
            f"and a core of {', '.join(CORES)}, got {text!r}"
        )
    return Skip(contender=found[1], processor=found[2], what=found[3] or "", reason=found[4])
