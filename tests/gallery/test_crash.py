"""Killed in the middle of changes, on a disk that fails, by a power cut: what was confirmed is there.

pytest tests/gallery/test_crash.py
EDGE_SPHEREFACE_CRASH_TRIALS=300 pytest tests/gallery/test_crash.py -s    # minutes; prints what was found
"""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.gallery import open_gallery

HERE = Path(__file__).parent
TRIALS = int(os.environ.get("EDGE_SPHEREFACE_CRASH_TRIALS", "12"))
KILLS = 3 * TRIALS
PEOPLE, STEPS = 2000, 12


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """The library that stands before write and fsync."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler, to stand before write and fsync")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "disk_faults.c", "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def writer():
    """The module `crash_writer`, for its vectors."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("crash_writer", HERE / "crash_writer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def start(faults, fork_server, fingerprint):
    """A function that starts the writer on a gallery, with the library before libc and these settings of it."""
    fork = fork_server(HERE / "crash_writer.py", LD_PRELOAD=str(faults), OPENBLAS_NUM_THREADS="1")

    def start_writer(folder, *words, **settings):
        variables = {f"FAULTS_{name.upper()}": str(value) for name, value in settings.items()}
        return fork(folder / "people.db", fingerprint.to_json(), *words, FAULTS_FOLDER=str(folder), **variables)

    return start_writer


def run_and_kill(folder, durable, start, seed, *, one_in):
    """Lines that a writer printed until it was killed, some milliseconds after one of its first dozens of lines."""
    chance = random.Random(seed)
    process = start(folder, seed, durable=durable, one_in=one_in, seed=seed)
    first = [process.stdout.readline() for _ in range(chance.randrange(1, 26))]
    time.sleep(chance.uniform(0, 0.01))
    process.kill()
    lines = [*first, *process.stdout.read().splitlines()]
    process.wait()
    return [line.strip() for line in lines if line.strip()]


def apply(state, what, writer=None):
    kind, name, number = what.split()
    if kind == "add":
        return {**state, **dict.fromkeys(writer.group(name), 1)}
    if kind == "remove":
        return {key: value for key, value in state.items() if key != name}
    return {**state, name: int(number) + 1}


def follow(state, lines, writer=None):
    """What is confirmed, what was begun and is not, who was removed for certain, and whether the disk failed."""
    begun, gone, failed = None, [], 0
    for line in lines:
        word, _, what = line.partition(" ")
        if word == "done":
            state, begun = apply(state, what, writer), None
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


@pytest.mark.slow
def test_kills_lose_nothing_that_was_confirmed(tmp_path, start, writer, fingerprint):
    """Every second time only what had been synchronized is left; one fsync in 40 fails every third time."""
    folder, durable = tmp_path / "gallery", tmp_path / "durable"
    folder.mkdir()
    durable.mkdir()
    state, confirmed, failures, removed = {}, 0, 0, 0
    for seed in range(KILLS):
        lines = run_and_kill(folder, durable, start, seed, one_in=40 if seed % 3 == 0 else 0)
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
    assert removed > KILLS // 10
    assert failures > KILLS // 30


@pytest.fixture(scope="module")
def large(tmp_path_factory, fingerprint, writer):
    """Folders of a gallery of thousands: closed, and with a write-ahead log; and who is in them."""
    folders = [tmp_path_factory.mktemp(name) for name in ("closed", "open")]
    names = [name for number in range(PEOPLE // writer.GROUP) for name in writer.group(f"first{number}")]
    with open_gallery(folders[0] / "people.db", fingerprint, create=True) as gallery:
        gallery.add(writer.portraits(names))
    with open_gallery(folders[0] / "people.db", fingerprint) as gallery:
        gallery.add(writer.portraits(["last"]))
        replace_files(folders[1], folders[0])
    return folders, dict.fromkeys([*names, "last"], 1)


def power_cut(folder, durable, chance):
    """What had been synchronized is left; of what had not, all or nothing of a file, as it happens."""
    for file in folder.iterdir():
        if file.name.endswith("-shm") or not (durable / file.name).exists():
            file.unlink()
        elif chance.random() < 0.7:
            shutil.copy(durable / file.name, file)
    for file in durable.iterdir():
        if not file.name.endswith((".copying", "-shm")) and not (folder / file.name).exists():
            shutil.copy(file, folder / file.name)


def trial(seed, folder, durable, large, start, fingerprint, writer):
    """One end of a writer; gives what is wrong with the gallery afterwards, in words, and how far the writer came."""
    chance = random.Random(seed)
    folders, state = large
    for place in (folder, durable):
        replace_files(place, folders[seed % 2])
    kind = ("kill", "power", "full")[seed // 2 % 3]
    settings = {"file": "people.db" if seed // 6 % 2 else "", ("full_at" if kind == "full" else "kill_at"): 0}
    place = int(2 ** chance.uniform(0, 9 if settings["file"] else 11))
    settings["full_at" if kind == "full" else "kill_at"] = place
    if kind == "power":
        settings["durable"] = durable
    lines = printed(start(folder, seed, STEPS, **settings))
    state, begun, _, _ = follow(state, lines, writer)
    allowed = (state, state if begun is None else apply(state, begun, writer))
    if kind == "power":
        power_cut(folder, durable, chance)
    wrong = look_from_a_full_disk(folder, allowed, start) if kind == "full" else []
    try:
        with open_gallery(folder / "people.db", fingerprint, create=True) as gallery:
            wrong += look(gallery, allowed, writer)
            gallery.enroll("after", writer.embedding("after", 0))
    except EdgeSphereFaceError as error:
        wrong.append(f"refused: {error}")
    return kind, wrong, len(lines)


def printed(process):
    """The lines of a process that has ended."""
    lines = process.stdout.read().splitlines()
    process.wait()
    return lines


def look_from_a_full_disk(folder, allowed, start):
    found = [line.split(" ", 2) for line in printed(start(folder, "list", full_at=1))]
    if any(line[0] == "failed" for line in found):
        return [f"refused on a full disk: {found[-1]}"]
    return [] if {name: int(count) for _, count, name in found} in allowed else ["lost on a full disk"]


def look(gallery, allowed, writer):
    found = {identity.name: identity.embeddings for identity in gallery.identities()}
    wrong = [*gallery.check(), *([] if found in allowed else [f"lost: {len(found)} of {len(allowed[0])}"])]
    for portrait in gallery.portraits():
        made = {writer.embedding(portrait.name, number).tobytes() for number in range(len(portrait.embeddings))}
        if {row.tobytes() for row in portrait.embeddings} != made:
            wrong.append(f"another embedding of {portrait.name}")
    names = random.Random(len(found)).sample(sorted(found), 20)
    first = [best.name for best, *_ in gallery.search(np.stack([gallery.template(name) for name in names]), top=1)]
    return wrong + [name for name, other in zip(names, first, strict=True) if name != other]


@pytest.mark.slow
def test_a_large_gallery_opens_again_wherever_its_writer_ends(tmp_path, large, start, writer, fingerprint):
    """Ended in the middle of a checkpoint, by a kill, a power cut or a full disk: nothing refused, nothing lost."""
    folder, durable = tmp_path / "gallery", tmp_path / "durable"
    folder.mkdir()
    durable.mkdir()
    outcomes = [trial(seed, folder, durable, large, start, fingerprint, writer) for seed in range(TRIALS)]
    wrong = [(seed, kind, found) for seed, (kind, found, _) in enumerate(outcomes) if found]
    ends = sum(count < 2 * STEPS for _, _, count in outcomes)
    print(f"\n{TRIALS} trials, {ends} ended early, {len(wrong)} wrong", *wrong, sep="\n")  # noqa: T201 -- with -s
    assert wrong == []
    assert ends > TRIALS // 3
