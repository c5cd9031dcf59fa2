"""Count the instructions of one inference on an emulated core: a deterministic cost, but not a time.

A core may start several instructions per cycle or wait many cycles for one. Counts therefore compare forms of a network
on one core, not different cores.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.emulation.debian import EmulationError, run_tool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.emulation.emulator import EmulatedPython, Emulator

SOURCE = Path(__file__).with_name("instructions.c")
WORKER = Path(__file__).with_name("marked.py")
LINE_BYTES = 64
"""Length of a line of every modelled cache."""
_COMPILERS = ("cc", "gcc", "clang")
_KINDS = 5
_TRAFFIC = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A level of the data caches of a core, with lines of 64 bytes.

    Attributes:
        bytes: size.
        ways: number of lines in which a line of memory may be stored.
    """

    bytes: int
    ways: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Data that one inference moves, by a model of the caches of one core.

    Attributes:
        loaded_bytes: bytes that instructions load.
        stored_bytes: bytes that instructions store.
        misses: lines of 64 bytes that each level of the caches lacks, from the first level to the last.
        written_back: lines of 64 bytes that leave the last level for memory.
    """

    loaded_bytes: int
    stored_bytes: int
    misses: tuple[int, ...]
    written_back: int

    @property
    def memory_bytes(self) -> int:
        """Bytes that pass between the last level and memory, in both directions."""
        return (self.misses[-1] + self.written_back) * LINE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Instructions of one inference, by kind.

    Attributes:
        instructions: all.
        vector: arithmetic, moves and permutations of vectors and of floating-point numbers.
        multiply_adds: vector instructions that multiply and add, among ``vector``.
        vector_memory: loads and stores of vector registers.
        other_memory: other loads and stores, and prefetches.
        traffic: moved data; None if it was not modelled.
    """

    instructions: int
    vector: int
    multiply_adds: int
    vector_memory: int
    other_memory: int
    traffic: Traffic | None = None


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
    """Count the instructions of an inference of a model, with batch 1 and one thread.

    Raises:
        EmulationError: the inference failed.
    """
    return count_marked(python, plugin, [str(WORKER), str(model), str(crops)]).instructions


def count_marked(
    python: EmulatedPython, plugin: Path, arguments: Sequence[str], caches: Sequence[Cache] = ()
) -> Counts:
    """Count what a program executes between the second and the third of its three marks.

    Args:
        python: interpreter on the emulated core.
        plugin: the compiled plugin.
        arguments: arguments of the interpreter.
        caches: data caches of the core, which fill between the first two marks; empty for no model of them.

    Raises:
        EmulationError: the program failed, or has another number of marks.
    """
    modelled = "+".join(f"{cache.bytes}:{cache.ways}" for cache in caches)
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "counts"
        options = f",caches={modelled}" if caches else ""
        python.run(arguments, f"file={plugin},output={output}{options}")
        return read_counts(output.read_text(encoding="ascii"), levels=len(caches))


def read_counts(text: str, *, levels: int = 0) -> Counts:
    """Return the difference of the last two of three lines that the plugin wrote.

    Args:
        text: the lines.
        levels: number of modelled levels of caches.

    Raises:
        EmulationError: there are not three such lines.
    """
    marks = [[int(word) for word in line.split()] for line in text.splitlines()]
    length = _KINDS + (_TRAFFIC + levels if levels else 0)
    if len(marks) != 3 or any(len(mark) != length for mark in marks):
        raise EmulationError(f"Expected three marks with {length} counts each around two inferences, got {marks}.")
    instructions, vector, multiply_adds, vector_memory, other_memory, *moved = (
        after - before for before, after in zip(marks[1], marks[2], strict=True)
    )
    traffic = None
    if levels:
        loaded, stored, written_back, *misses = moved
        traffic = Traffic(loaded_bytes=loaded, stored_bytes=stored, misses=tuple(misses), written_back=written_back)
    return Counts(
        instructions=instructions,
        vector=vector,
        multiply_adds=multiply_adds,
        vector_memory=vector_memory,
        other_memory=other_memory,
        traffic=traffic,
    )
