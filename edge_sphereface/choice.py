"""Which of several forms of one network to run on this device, and how: measured, not argued.

A plain, a rewritten and a quantized model give the same people, and which is fastest depends on cores, caches and
memory. Every form is timed with every setting, in turns: one model is loaded at a time, so the memory needed is that of
the largest, and a board that grows hot slows all of them alike. Between two inferences the caches are emptied, as the
frames and the detector of a camera do: a form with large weights would otherwise look faster than it will be.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.certificate import certificate_path, check_on_device, golden_crops, load_certificate
from edge_sphereface.embed import Embedder
from edge_sphereface.errors import EdgeSphereFaceError, ModelFormatError
from edge_sphereface.session import SessionConfig
from edge_sphereface.timing import LatencySummary, measure_interleaved, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edge_sphereface.model_spec import ModelSpec
    from edge_sphereface.types import Float64Array, JsonObject, UInt8Array

TURNS = 5
_FRAMES_BYTES = 64 << 20
_WARMUP = 3
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a session runs.

    Attributes:
        threads: of an inference.
        pinned_threads: see :class:`edge_sphereface.session.SessionConfig`.
        memory_arena: see there.
    """

    threads: int
    pinned_threads: bool = False
    memory_arena: bool = False

    def __str__(self) -> str:
        words = [f"{self.threads} thread{'s' if self.threads > 1 else ''}"]
        words += ["pinned"] if self.pinned_threads else []
        return ", ".join(words + (["arena"] if self.memory_arena else []))

    def config(self, provider: str) -> SessionConfig:
        """The same for a session."""
        return SessionConfig(
            provider=provider,
            threads=self.threads,
            pinned_threads=self.pinned_threads,
            memory_arena=self.memory_arena,
        )

    def open(self, model: Path, provider: str, batch: int = 1) -> Embedder:
        """Load a model for inferences of as many faces."""
        return Embedder(model, session=self.config(provider), batch_size=batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What is timed.

    Attributes:
        provider: execution provider.
        batch: faces in an inference.
        rounds: samples of each form and setting, in ``TURNS`` turns.
    """

    provider: str = "cpu"
    batch: int = 1
    rounds: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One model file.

    Attributes:
        path: of the file.
        spec: what it says of itself.
        bytes: its size, which is about what its weights take in memory.
        certified: whether its certificate held on this device; None without one.
        dropped: why it is not to be chosen; empty if it may be.
    """

    path: Path
    spec: ModelSpec
    bytes: int
    certified: bool | None
    dropped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A form with a setting, and the latency of an inference."""

    form: Form
    setting: Setting
    latency: LatencySummary

    def as_json(self) -> JsonObject:
        """As plain JSON values."""
        spec = self.form.spec
        return {
            "model": str(self.form.path),
            "bytes": self.form.bytes,
            "precision": spec.precision,
            "rewrites": list(spec.rewrites),
            "stages": list(spec.tuning.stages) if spec.tuning else None,
            "threads": self.setting.threads,
            "pinned_threads": self.setting.pinned_threads,
            "memory_arena": self.setting.memory_arena,
            "latency": self.latency.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was measured.

    Attributes:
        rows: the fastest first.
        dropped: forms that were not measured, with the reason.
    """

    rows: tuple[Row, ...]
    dropped: tuple[Form, ...]

    @property
    def best(self) -> Row | None:
        """The fastest; None if every form was dropped."""
        return self.rows[0] if self.rows else None


def settings(threads: Sequence[int], *, pinned: bool = False, arena: bool = False) -> list[Setting]:
    """Every combination that is asked for; one thread has none to pin."""
    return [
        Setting(threads=count, pinned_threads=pin, memory_arena=keep)
        for count in dict.fromkeys(threads)
        for pin in ((False, True) if pinned and count > 1 else (False,))
        for keep in ((False, True) if arena else (False,))
    ]


def choose(
    models: Sequence[Path],
    how: Sequence[Setting],
    *,
    what: Measurement = Measurement(),
    max_mib: float | None = None,
    min_cosine: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Choice:
    """Measure forms of one network on this device.

    Args:
        models: ONNX files made from one checkpoint.
        how: settings, each with every model.
        what: is timed.
        max_mib: largest file.
        min_cosine: least mean cosine to the float model that a quantized one says it has.
        progress: told inferences done and in all.

    Raises:
        ModelError: a file is missing or no model of ours.
        ModelFormatError: the models come from different checkpoints.
        ProviderError: the provider is absent or fails.
    """
    forms = [_inspect(path, what.provider, max_mib, min_cosine) for path in dict.fromkeys(models)]
    require_one_source({form.path: form.spec for form in forms})
    cases = [(form, setting) for form in forms if not form.dropped for setting in how]
    turns = min(TURNS, what.rounds)
    frames = np.zeros(_FRAMES_BYTES, dtype=np.uint8)
    samples: list[list[Float64Array]] = [[] for _ in cases]
    for turn in range(turns):
        share = what.rounds // turns + (turn < what.rounds % turns)
        for number, (form, setting) in enumerate(cases):
            samples[number].append(_turn(form, setting, what, share, frames))
            if progress is not None:
                progress(turn * len(cases) + number + 1, turns * len(cases))
    rows = [
        Row(form=form, setting=setting, latency=summarize(np.concatenate(taken)))
        for (form, setting), taken in zip(cases, samples, strict=True)
    ]
    rows.sort(key=lambda row: row.latency.median_ms)
    return Choice(rows=tuple(rows), dropped=tuple(form for form in forms if form.dropped))


def _turn(form: Form, setting: Setting, what: Measurement, rounds: int, frames: UInt8Array) -> Float64Array:
    """Samples of one turn; the model is gone when it ends, before the next one is loaded."""
    embedder = setting.open(form.path, what.provider, what.batch)
    crops = np.resize(golden_crops(form.spec), (what.batch, *form.spec.crop_shape))
    run: dict[str, Callable[[], object]] = {
        "frames": partial(frames.fill, 1),
        "faces": partial(embedder.forward, crops),
    }
    return measure_interleaved(run, rounds=rounds, warmup=_WARMUP)["faces"]


def _inspect(path: Path, provider: str, max_mib: float | None, min_cosine: float | None) -> Form:
    """What is to be known of a file before it is timed."""
    embedder = Embedder(path, provider=provider)
    spec, size, certified, dropped = embedder.spec, path.stat().st_size, None, ""
    if certificate_path(path).is_file():
        try:
            check = check_on_device(embedder, load_certificate(certificate_path(path)))
            certified = check.passed
            if not check.passed:
                dropped = f"its certificate does not hold here: cosine {check.measured.min_cosine:.6f}"
        except EdgeSphereFaceError as error:
            certified, dropped = False, error.message
    if max_mib is not None and size > max_mib * _MIB:
        dropped = f"{size / _MIB:.1f} MiB are more than {max_mib:g}"
    record = spec.quantization
    if min_cosine is not None and record is not None and record.cosine_mean < min_cosine:
        dropped = f"its mean cosine to float, {record.cosine_mean:.5f}, is less than {min_cosine:g}"
    return Form(path=path, spec=spec, bytes=size, certified=certified, dropped=dropped)


def require_one_source(specs: Mapping[Path, ModelSpec]) -> None:
    """Refuse models of different networks.

    Raises:
        ModelFormatError: two of them come from different checkpoints.
    """
    sources = {spec.source_sha256: path for path, spec in specs.items()}
    if len(sources) > 1:
        one, other, *_ = sources.values()
        raise ModelFormatError(
            f"Expected forms of one network, and {one} and {other} come from different checkpoints "
            f"({specs[one].source_file}, {specs[other].source_file}).",
            hint="their embeddings cannot be compared with one another; measure them apart",
        )
