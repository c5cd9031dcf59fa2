"""Killed in the middle of changes, on a disk that fails, by a power cut: what was confirmed is there.

pytest tests/gallery/test_crash.py
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_sphereface.gallery import open_gallery

HERE = Path(__file__).parent
KILLS = 100


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """The library that stands before fsync."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler, to stand before fsync")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "fsync_faults.c", "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def writer():
    """The module `crash_writer`, for its vectors."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("crash_writer", HERE / "crash_writer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_and_kill(folder, durable, faults, fingerprint, seed, *, one_in):
    """Lines that a writer printed until it was killed, some hundredths of a second after its first change."""
    root = str(HERE.parents[1])
    environment = {
        **os.environ,
        "LD_PRELOAD": str(faults),
        "FAULTS_FOLDER": str(folder),
        "FAULTS_DURABLE": str(durable),
        "FAULTS_ONE_IN": str(one_in),
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OPENBLAS_NUM_THREADS": "1",
    }
    words = [sys.executable, str(HERE / "crash_writer.py"), str(folder / "people.db"), fingerprint.to_json(), str(seed)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 0.06))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        lines = [first, *process.stdout.read().splitlines()]
    return [line.strip() for line in lines if line.strip()]


def apply(state, what):
    kind, name, number = what.split()
    if kind == "remove":
        return {key: value for key, value in state.items() if key != name}
    return {**state, name: int(number) + 1}


def follow(state, lines):
    """What is confirmed, what was begun and is not, who was removed for certain, and whether the disk failed."""
    begun, gone, failed = None, [], 0
    for line in lines:
        word, _, what = line.partition(" ")
        if word == "done":
            state, begun = apply(state, what), None
            gone += what.split()[1:2] if what.startswith("remove") else []
        elif word == "begin":
            begun = what
        else:
            assert word == "failed", line
            failed = 1
    return state, begun, gone, failed


def replace_files(folder, source):
    shutil.rmtree(folder)
    folder.mkdir()
    for file in source.iterdir():
        if not file.name.endswith((".copying", "-shm")):  # shared memory is no file that a disk keeps
            shutil.copy(file, folder / file.name)


def test_a_hundred_kills_lose_nothing_that_was_confirmed(tmp_path, faults, writer, fingerprint):
    """Every second time only what had been synchronized is left; one fsync in 40 fails every third time."""
    folder, durable = tmp_path / "gallery", tmp_path / "durable"
    folder.mkdir()
    durable.mkdir()
    state, confirmed, failures, removed = {}, 0, 0, 0
    for seed in range(KILLS):
        lines = run_and_kill(folder, durable, faults, fingerprint, seed, one_in=40 if seed % 3 == 0 else 0)
        state, begun, gone, failed = follow(state, lines)
        if seed % 2:
            replace_files(folder, durable)
        with open_gallery(folder / "people.db", fingerprint, create=True) as gallery:
            assert gallery.check() == []
            found = {identity.name: identity.embeddings for identity in gallery.identities()}
            assert found in (state, state if begun is None else apply(state, begun)), lines[-3:]
            state = found
            for portrait in gallery.portraits():
                made = {writer.embedding(portrait.name, number).tobytes() for number in range(found[portrait.name])}
                assert {row.tobytes() for row in portrait.embeddings} == made
                assert gallery.search(gallery.template(portrait.name), top=1)[0][0].name == portrait.name
        for name in gone:
            needle = writer.embedding(name, 0).tobytes()
            assert [file.name for file in folder.iterdir() if needle in file.read_bytes()] == []
        replace_files(durable, folder)  # this process has no faults: what it left is on the disk
        confirmed += sum(line.startswith("done") for line in lines)
        removed += len(gone)
        failures += failed
    assert confirmed > 3 * KILLS
    assert removed > 10
    assert failures > 3
