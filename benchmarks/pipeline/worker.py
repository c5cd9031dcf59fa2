"""Process of one contender: it processes the next photographs on request, and times each stage."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pipeline.contenders.contender import Setup  # noqa: TC001 -- read with the annotations of the record
from benchmarks.worker import Message, main
from edge_sphereface.evaluation.process_memory import peak_rss_mib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.pipeline.contenders import Contender, Faces
    from edge_sphereface.json_output import Dataclass

SEARCH = "search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph(Message):
    """A photograph of one person.

    Attributes:
        path: path relative to the folder, ``PERSON/photo.jpg``.
        enrolled: whether it is enrolled; the others are searched.
    """

    path: str
    enrolled: bool

    @property
    def person(self) -> str:
        """Name of the person."""
        return self.path.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Message):
    """What a worker loads.

    Attributes:
        contender: name of the contender's module.
        setup: its setup.
        photographs: absolute path of the folder of the photographs.
    """

    contender: str
    setup: Setup
    photographs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Message):
    """Answer of a worker that has loaded the contender.

    Attributes:
        version: versions of its packages.
        load_ms: time to load it in milliseconds, without the import of this project's modules.
    """

    version: str
    load_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Message):
    """Request to process photographs.

    Attributes:
        photographs: the photographs.
    """

    photographs: tuple[Photograph, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed(Message):
    """What was found in a photograph.

    Attributes:
        times_ms: time of each stage in milliseconds; that of the search only for photographs that are searched.
        embedding: embedding of the largest face; empty if there is no face.
        name: name found for that face; empty if there is none, or if the photograph is enrolled.
    """

    times_ms: dict[str, float]
    embedding: tuple[float, ...]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Message):
    """Answer to a turn.

    Attributes:
        processed: one result for each photograph.
        peak_rss_mib: peak resident memory of the process in MiB; None if the system does not report it.
    """

    processed: tuple[Processed, ...]
    peak_rss_mib: float | None


def process(
    contender: Contender, path: Path, photograph: Photograph, clock: Callable[[], float] = time.perf_counter
) -> Processed:
    """Take a photograph through all stages, and enroll or search its faces.

    Args:
        contender: the contender.
        path: path of the photograph.
        photograph: the photograph.
        clock: monotonic clock in seconds.
    """
    times_ms: dict[str, float] = {}
    value: Any = str(path)
    for stage, run in contender.stages.items():
        begin = clock()
        value = run(value)
        times_ms[stage] = (clock() - begin) * 1e3
    faces: Faces = value
    largest = int(faces.areas.argmax()) if len(faces.areas) else None
    embedding = None if largest is None else faces.embeddings[largest]
    name = ""
    if not photograph.enrolled:
        begin = clock()
        names = contender.search(faces.embeddings) if len(faces.areas) else []
        times_ms[SEARCH] = (clock() - begin) * 1e3
        name = "" if largest is None else names[largest]
    elif embedding is not None:
        contender.enroll(photograph.person, embedding)
    return Processed(times_ms=times_ms, embedding=() if embedding is None else tuple(embedding.tolist()), name=name)


def warm_up(contender: Contender, paths: Sequence[str]) -> None:
    """Decode the photographs of a turn and process the first one, neither of which is counted.

    No contender is then the first to read a file, and the caches no longer have the data of the previous contender.
    """
    decode, *others = contender.stages.values()
    value: Any = None
    for path in reversed(paths):
        value = decode(path)
    for run in others:
        value = run(value)


def serve(request: Request, answer: Callable[[Dataclass], None]) -> None:
    """Load the contender, and process photographs until stdin ends."""
    module = import_module(f"benchmarks.pipeline.contenders.{request.contender}")
    start = time.perf_counter()
    contender = module.Contender(request.setup)
    answer(Loaded(version=contender.version, load_ms=(time.perf_counter() - start) * 1e3))
    folder = Path(request.photographs)
    for line in sys.stdin:
        turn = Turn.from_json(line)
        warm_up(contender, [str(folder / each.path) for each in turn.photographs])
        processed = tuple(process(contender, folder / each.path, each) for each in turn.photographs)
        answer(Results(processed=processed, peak_rss_mib=peak_rss_mib()))


if __name__ == "__main__":
    main(partial(serve, Request.from_json(sys.argv[1])))
