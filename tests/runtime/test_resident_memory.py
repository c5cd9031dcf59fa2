"""Memory that only loading needs is returned to the system, and everything works as before."""

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edge_sphereface.inference.resident_memory import (
    FreedMemory,
    read_mappings,
    release_loading_memory,
    return_freed_memory,
)
from edge_sphereface.inference.session import MemoryModel, SessionConfig, open_session

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not list the mappings of a process")
SMAPS = """\
5581a000-5581c000 r--p 00000000 08:01 131 /usr/bin/a file (deleted)
Size:                  8 kB
Rss:                   8 kB
Pss:                   4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7ffc1000-7ffc4000 rw-p 00000000 00:00 0 [heap]
Rss:                  12 kB
Pss:                  12 kB
Anonymous:            12 kB
7fff1000-7fff2000 rw-p 00000000 00:00 0
Rss:                   0 kB
"""


def test_mappings_are_read(tmp_path):
    path = tmp_path / "smaps"
    path.write_text(SMAPS)
    file, heap, unnamed = read_mappings(path)
    assert (file.start, file.size, file.permissions, file.path) == (
        0x5581A000, 8192, "r--p", "/usr/bin/a file (deleted)",
    )  # fmt: skip
    assert (file.resident, file.proportional, file.own) == (8192, 4096, 0)
    assert (heap.path, heap.own) == ("[heap]", 12288)
    assert (unnamed.path, unnamed.resident, unnamed.own) == ("", 0, 0)


HEAPS = """
import sys, threading
from edge_sphereface.inference.resident_memory import read_mappings, bound_heaps, SMAPS

sys.argv[1:] and bound_heaps()
stay, made = threading.Event(), threading.Barrier(9)
def work():
    kept = [bytearray(50_000) for _ in range(10)]
    made.wait()
    stay.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
made.wait()
reserved = 64 << 20  # of glibc, for each heap but the first, at multiples of its size
print(sum(not one.path and one.start % reserved == 0 and one.own > 500_000 for one in read_mappings(SMAPS)))
stay.set()
"""


@linux
def test_threads_share_heaps():
    """Without that, each has one of its own as far as the number of processors permits."""

    def heaps(*words):
        command = [sys.executable, "-c", HEAPS, *words]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert heaps() > heaps("share") == 1


HOLES = """
import sys
from edge_sphereface.evaluation.process_memory import rss_mib
from edge_sphereface.inference.resident_memory import bound_heaps

sys.argv[1:] and bound_heaps()
b"1" * (30 << 20)  # a large photograph; from now on the heaps of glibc hold blocks up to this size
before = rss_mib()
blocks = [b"1" * ((5 << 20) >> 8 * (number % 2)) for number in range(40)]  # of faces, and of an event behind each
del blocks[::2]
print(rss_mib() - before)
"""


@linux
def test_large_blocks_leave_no_holes_between_those_in_use():

    def growth_mib(*words):
        command = [sys.executable, "-c", HOLES, *words]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert growth_mib() > 60
    assert growth_mib("bound") < 8


@linux
def test_freed_blocks_inside_the_heap_are_returned():
    """The C library itself returns only the end of its heap, which the last block holds here."""
    blocks = [np.ones(8000) for _ in range(400)]
    held = blocks[-1]
    del blocks
    before = resident()
    return_freed_memory()
    assert before - resident() > 16 * MIB
    assert held.sum() == len(held)


@linux
def test_code_is_unmapped_and_runs_again(make_onnx):
    session, _ = open_session(make_onnx(), SessionConfig(provider="cpu", threads=1))
    crops = np.random.default_rng(0).standard_normal((2, 3, 112, 96)).astype(np.float32)
    (before,) = session.run(None, {"input": crops})
    mapped = resident(code_of=onnxruntime.__name__)
    release_loading_memory()
    assert resident(code_of=onnxruntime.__name__) < mapped / 2
    assert np.array_equal(session.run(None, {"input": crops})[0], before)


@linux
def test_changed_code_is_kept(tmp_path):
    """A breakpoint of a debugger, say, is in no file."""
    path = tmp_path / "library"
    path.write_bytes(b"a" * 2 * mmap.PAGESIZE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as code:
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        code[mmap.PAGESIZE] = ord("b")
        c_library = ctypes.CDLL(None)
        size = ctypes.c_size_t(len(code))
        assert c_library.mprotect(ctypes.c_void_p(address), size, mmap.PROT_READ | mmap.PROT_EXEC) == 0
        assert [found.permissions for found in read_mappings() if found.path == str(path)] == ["r-xp"]
        release_loading_memory(str(path))
        assert ctypes.string_at(address, 1) == b"a"
        assert ctypes.string_at(address + mmap.PAGESIZE, 1) == b"b"


@linux
def test_opening_a_large_model_releases_what_loading_needed(make_onnx):
    weights = np.arange(3 * 400_000, dtype=np.float32).reshape(400_000, 3)
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["large", "one"], ["column"]),
        helper.make_node("ReduceMean", ["column"], ["offset"], axes=[0, 1], keepdims=0),
        helper.make_node("Add", ["mean", "offset"], ["embedding"]),
    ]
    initializers = [
        numpy_helper.from_array(weights, "large"),
        numpy_helper.from_array(np.ones((3, 1), np.float32), "one"),
    ]
    large = make_onnx(nodes=nodes, initializers=initializers, name="large.onnx")
    open_session(MemoryModel(name="large", content=large.read_bytes()), SessionConfig(provider="cpu"))
    mapped = resident(code_of=onnxruntime.__name__)
    open_session(large, SessionConfig(provider="cpu"))
    assert resident(code_of=onnxruntime.__name__) < mapped, "without the release it only grows"


def resident(*, code_of=""):
    """Bytes in memory; with a name, those of the code of files whose paths contain it."""
    return sum(
        mapping.resident
        for mapping in read_mappings()
        if not code_of or (code_of in mapping.path and mapping.permissions == "r-xp")
    )


def test_freed_memory_goes_back_every_ten_seconds_however_often_it_is_looked_at():
    now_s, returned = 1000.0, []
    freed = FreedMemory(lambda: now_s, lambda: returned.append(now_s))
    for _ in range(25):
        now_s += 1
        freed.look()
    assert returned == [1010, 1020]
