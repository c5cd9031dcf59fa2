"""Returns to the system what only the loading of a model needs, and what a long-running process has freed.

Loading leaves two things resident. The heap keeps the blocks that held the file and the weights before onnxruntime
packed them; the C library returns such blocks only at the end of its heap. And half of the code of onnxruntime that is
mapped has run once, to register operators and to optimize the graph. Later frames, pictures and answers of many sizes
come and go, and what they leave free between blocks in use stays resident too.

References:
    malloc_trim(3), mallopt(3), madvise(2), proc_pid_maps(5) and proc_pid_pagemap(5) of the Linux manual.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMAPS = Path("/proc/self/smaps")
_MAPS, _PAGES = Path("/proc/self/maps"), Path("/proc/self/pagemap")
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)")
"""First line of a mapping. Source: proc_pid_maps(5) of the Linux manual."""
_CODE = "r-xp"
_KIB = 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Source: glibc's malloc.h."""
_HEAPS = 2
_LARGE_BLOCK = 4 << 20
"""Bytes from which a block is kept out of the heaps. To get one from the system takes 0.4 ms for each MiB; a frame of
1280 x 720 pixels is smaller."""
_FREE_END = 2 * _LARGE_BLOCK
"""Free bytes at the end of a heap up to which they stay there, as large as glibc chooses by itself."""
_RETURN_S = 10.0
"""Period in which a long-running process returns what it has freed: what it needs again at once costs time to get."""
_PAGE_STATE, _STATE_BYTES = 61, 8
_UNCHANGED = frozenset({0b000, 0b001, 0b101})
"""States of a page in the highest bits of its entry: present, swapped out, of a file. A changed page is of no file."""


class Mapping(NamedTuple):
    """A part of the address space, and how much of it is in memory.

    Attributes:
        start: first address.
        size: bytes of address space.
        permissions: such as ``r-xp``.
        path: path of the mapped file; a name in brackets, such as ``[heap]``; empty for other memory without a file.
        resident: bytes in memory.
        proportional: bytes in memory; those that N processes share count as 1 / N.
        own: bytes in memory that are not those of a file: allocated, or changed by this process.
    """

    start: int
    size: int
    permissions: str
    path: str
    resident: int
    proportional: int
    own: int


def read_mappings(smaps: Path = SMAPS) -> Iterator[Mapping]:
    """Iterate over the mappings of a process.

    Raises:
        OSError: the system has no such file, or the process has ended.
    """
    head: re.Match[str] | None = None
    sizes: dict[str, int] = {}
    with smaps.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            found = _MAPPING.match(line)
            if found:
                if head:
                    yield _mapping(head, sizes)
                head, sizes = found, {}
            elif line.endswith(" kB\n"):
                name, _, size = line.partition(":")
                sizes[name] = int(size.split()[0]) * _KIB
    if head:
        yield _mapping(head, sizes)


def _mapping(head: re.Match[str], sizes: dict[str, int]) -> Mapping:
    start, end = int(head[1], 16), int(head[2], 16)
    counted = (sizes.get(name, 0) for name in ("Rss", "Pss", "Anonymous"))
    return Mapping(start, end - start, head[3], head[4].rstrip("\n"), *counted)


def return_freed_memory() -> None:
    """Return the freed blocks of the heap to the system, if the C library can (glibc)."""
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


class FreedMemory:
    """What a long-running process has freed, which goes back to the system every ten seconds.

    Args:
        clock: monotonic clock in seconds.
        give_back: returns the freed blocks.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, give_back: Callable[[], None] = return_freed_memory
    ) -> None:
        self._clock = clock
        self._give_back = give_back
        self._next_s = clock() + _RETURN_S

    def look(self) -> None:
        """Return it if ten seconds have passed since the last time; at any time, also often."""
        now_s = self._clock()
        if now_s >= self._next_s:
            self._next_s = now_s + _RETURN_S
            self._give_back()


def bound_heaps() -> None:
    """Keep the heaps of a long-running process from growing without need, if the C library can (glibc).

    All threads that start from now on share two heaps. It would make one for each thread, up to eight for each
    processor, and each keeps what was freed in it. Large blocks stay out of the heaps. Once a larger one was freed, up
    to 32 MiB, glibc puts them there: batches of faces and photographs of changing sizes then leave holes between blocks
    in use, and the next one does not fit into them.
    """
    option = getattr(_c_library(), "mallopt", None)
    if option is not None:
        option(_M_ARENA_MAX, _HEAPS)
        option(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        option(_M_TRIM_THRESHOLD, _FREE_END)


def release_loading_memory(library: str = "") -> None:
    """Return freed memory, and unmap the code of libraries until it runs again; after all is loaded.

    The code stays in the system's file cache, from which a page is mapped again when it runs. Other memory than the
    unchanged code of files is untouched. Other systems than Linux keep the code.

    Args:
        library: only the code of files whose path contains this text.
    """
    return_freed_memory()
    c_library = _c_library()
    if c_library is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    try:
        # The list with sizes, smaps, takes the system twenty times as long to write
        code = [found for found in read_mappings(_MAPS) if library in found.path and _is_unchanged_code(found)]
    except OSError:  # without /proc
        return
    for mapping in code:
        address, size = ctypes.c_void_p(mapping.start), ctypes.c_size_t(mapping.size)
        c_library.madvise(address, size, mmap.MADV_DONTNEED)  # may be refused, such as for locked memory


def _is_unchanged_code(mapping: Mapping) -> bool:
    """Whether every page of a mapping can be read again from its file."""
    if mapping.permissions != _CODE or not mapping.path.startswith("/"):
        return False
    with _PAGES.open("rb", buffering=0) as pages:
        pages.seek(mapping.start // mmap.PAGESIZE * _STATE_BYTES)
        states = pages.read(mapping.size // mmap.PAGESIZE * _STATE_BYTES)
    return all(state >> _PAGE_STATE in _UNCHANGED for state in memoryview(states).cast("Q"))


@cache
def _c_library() -> Any:
    """The C library of this process; None on other systems than Linux."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
