"""Count the instructions of one inference on an emulated core: a deterministic cost, but not a time.

A core may start several instructions per cycle or wait many cycles for one. Counts therefore compare forms of a network
on one core, not different cores.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.emulation.debian import EmulationError, run_tool

if TYPE_CHECKING:
    from benchmarks.emulation.emulator import EmulatedPython, Emulator

SOURCE = Path(__file__).with_name("instructions.c")
WORKER = Path(__file__).with_name("marked.py")
_COMPILERS = ("cc", "gcc", "clang")


def build_plugin(emulator: Emulator) -> Path:
    """Compile the plugin for an emulator, into its folder.

    Raises:
        EmulationError: there is no compiler, or the compilation failed.
    """
    compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise EmulationError(
            f"Expected a C compiler ({', '.join(_COMPILERS)}) for the counts of instructions, and there is none.",
            hint="apt install gcc libc6-dev, or leave the counts out with --no-counts",
        )
    version = emulator.version()
    # QEMU 9 no longer loads plugins of interface 1; nothing that is used here changed with 2
    interface = 1 if int(re.split(r"\D", version)[0]) < 9 else 2
    plugin = emulator.folder / f"instructions-{version}.so"
    words = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", f"-DPLUGIN_VERSION={interface}"]
    run_tool([compiler, *words, str(SOURCE), "-o", str(plugin)])
    return plugin


def count(python: EmulatedPython, plugin: Path, model: Path, crops: Path) -> int:
    """Count the instructions of the second inference, with batch 1 and one thread.

    Raises:
        EmulationError: the inference failed.
    """
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "counts"
        python.run([str(WORKER), str(model), str(crops)], f"file={plugin},output={output}")
        marks = [int(line) for line in output.read_text(encoding="ascii").split()]
    if len(marks) != 2:
        raise EmulationError(f"Expected two marks around an inference of {model.name}, got {len(marks)}.")
    return marks[1] - marks[0]
