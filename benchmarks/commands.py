"""The commands of ``python -m benchmarks``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import cases, comparison, environment, headline, latency, plan, report, stages
from benchmarks.accuracy import evaluate, protocols, published
from benchmarks.accuracy.embeddings import EmbeddingStore, embed_images, landmarks_digest
from benchmarks.ascend.comparison import with_known_rows
from benchmarks.contenders import find_peer, peer_names
from benchmarks.recorded import read_records
from benchmarks.result_file import keep_result, load_result
from edge_sphereface import __version__
from edge_sphereface.cli.arguments import read_named_pairs, require_detector
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.detection import open_detector
from edge_sphereface.evaluation.pairs import detected_landmarks, given_landmarks, images_of
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.storage.files import ensure_folder, sha256_of

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.model.spec import ModelSpec

FOLDER = Path("build/latency")
PEERS = tuple(name for name in peer_names() if name != "edge")


def run_latency(arguments: argparse.Namespace) -> Outcome:
    """Run ``latency``: time models and peers, then the stages of the first model."""
    threads = arguments.threads or list(range(1, usable_cpus() + 1))
    peers = PEERS if "all" in arguments.peers else arguments.peers
    for name in peers:
        if find_peer(name).needs_checkpoint and arguments.checkpoint is None:
            note(f"{find_peer(name).title} is skipped: it needs --checkpoint")
    setup = stages.StageSetup(
        model=arguments.model[0], photo=arguments.photo, video=arguments.video, yunet=arguments.detector_model
    )
    if not arguments.no_stages:
        setup.photograph()  # what cannot be read is told before minutes of timing
        if arguments.video is not None and not stages.read_video(arguments.video, limit=1):
            raise UsageError(f"OpenCV cannot read {arguments.video} as a video.", hint="give an MP4, AVI or MKV file")
    rivals: list[cases.Rival] = []
    if arguments.calibration is not None:
        folder = ensure_folder(arguments.folder)
        rivals = cases.make_rivals(arguments.model[0], arguments.calibration, folder, peers)
    timed = environment.TimedRun()
    before = environment.condition()
    rows = latency.measure(
        arguments.model,
        threads=threads,
        batches=arguments.batches,
        rounds=arguments.rounds,
        starts=arguments.starts,
        peers=peers,
        checkpoint=arguments.checkpoint,
        rivals=rivals,
        progress=_Named(),
    )
    stage_rows: list[stages.StageRow] = []
    if not arguments.no_stages:
        stage_rows = stages.measure(
            setup, threads=threads, rounds=arguments.rounds, starts=arguments.starts, progress=_Named()
        )
    after = environment.condition()
    result = latency.LatencyReport(
        environment=timed.describe(),
        before=before,
        after=after,
        throttled=environment.is_throttled(before, after),
        rows=tuple(rows),
        stages=tuple(stage_rows),
    )
    keep_result(result, arguments.output)
    best = headline.entries(rows)
    parts = [latency.text(rows), headline.text(best) if best else "", stages.text(stage_rows) if stage_rows else ""]
    return Outcome(result, "\n\n".join([*filter(None, parts), _foot(result)]))


def run_accuracy(arguments: argparse.Namespace) -> Outcome:
    """Run ``accuracy``: all models on the same pairs, compared with the first."""
    labeled = read_named_pairs(arguments)
    if labeled is None:
        raise UsageError("No pairs were named.", hint="give --lfw FOLDER, or --pairs FILE with --images FOLDER")
    listed, folder, landmarks = labeled
    if landmarks is not None and not arguments.detect:
        kind, locate = "given", given_landmarks(landmarks)
        located_by = f"given-{landmarks_digest(landmarks)}"
    else:
        require_detector(arguments)
        detector = open_detector(arguments.detector, model=arguments.detector_model)
        kind, locate = detector.name, detected_landmarks(detector)
        located_by = f"{kind}-{__version__}"
    rows = []
    first: tuple[str, evaluate.Scores] | None = None
    specs: dict[str, ModelSpec] = {}
    for path in arguments.model:
        embedder = Embedder(path)
        key = f"{sha256_of(path)[:24]}-{located_by}-mirrored"
        both = embed_images(
            images_of(listed),
            folder,
            spec=embedder.spec,
            embed=protocols.both_features(embedder),
            store=EmbeddingStore(key, 2 * embedder.spec.embedding_size, keep=not arguments.no_cache),
            locate=locate,
            progress=Progress(f"{path.name}: photographs"),
        )
        chosen: protocols.Mirror = "sum" if arguments.flip else "none"
        scores = evaluate.score(listed, {name: protocols.mirrored(row, chosen) for name, row in both.items()})
        rows.append(
            evaluate.AccuracyRow(
                label=path.stem if kind == "given" else f"{path.stem}, {kind}",
                model=path.name,
                precision=embedder.spec.precision,
                landmarks=kind,
                flip=arguments.flip,
                provider=embedder.provider,
                figures=evaluate.judge(scores, None if first is None else _comparable(*first, embedder.spec)),
                protocols=protocols.by_protocol(listed, both),
            )
        )
        specs[rows[-1].label] = embedder.spec
        first = first or (embedder.spec.source_sha256, scores)
    claims = published.published_networks(specs) if arguments.lfw is not None else ()
    result = evaluate.AccuracyReport(environment=environment.describe(), accuracy=tuple(rows), published=claims)
    keep_result(result, arguments.output)
    parts = [evaluate.text(rows), f"{rows[0].figures.pairs} pairs, {kind} landmarks"]
    return Outcome(result, "\n\n".join([*parts, *([published.text(claims)] if claims else [])]))


def _comparable(source: str, scores: evaluate.Scores, spec: ModelSpec) -> evaluate.Scores:
    """Scores to compare a model with: without embeddings if those are of other weights."""
    return scores if source == spec.source_sha256 else scores._replace(embeddings={})


def run_plan(arguments: argparse.Namespace) -> Outcome:
    """Run ``plan``: a plan from measured stages."""
    if arguments.result is not None:
        rows = read_records(stages.StageRow, load_result(arguments.result).get("stages", []))
        name = None if arguments.model is None else arguments.model.name
    elif arguments.model is None:
        raise UsageError("No stage costs were named.", hint="give a result of `latency`, or --model to measure now")
    else:
        setup, name = stages.StageSetup(model=arguments.model, yunet=arguments.detector_model), None
        environment.TimedRun()  # warns if the machine is busy
        threads = list(range(1, usable_cpus() + 1))
        rows = stages.measure(setup, threads=threads, rounds=arguments.rounds, progress=_Named())
    wishes = {"fps": arguments.fps, "faces": arguments.faces, "budget_ms": arguments.budget_ms}
    try:
        made = plan.make_plan(rows, model=name, detector=arguments.detector, **wishes)
    except plan.PlanError as error:
        raise UsageError(str(error)) from error
    return Outcome(plan.PlanReport(plan=made, **wishes), plan.text(made, **wishes), passed=made.fits)


def run_report(arguments: argparse.Namespace) -> Outcome:
    """Run ``report``: Markdown and plots of results."""
    results = {path: load_result(path) for path in arguments.result}
    for path, result in results.items():
        if not report.is_shown(result):
            raise UsageError(
                f"{path} has no section that a report shows.",
                hint="give results of latency, accuracy, tuning, quantization, ascend, export quantize, report-device",
            )
    try:
        here = environment.describe()
        merged = report.merge([with_known_rows(result, here=here) for result in results.values()])
    except ValueError as error:
        raise UsageError(str(error), hint="make one report per machine") from error
    written = report.write(merged, arguments.output, title=arguments.title, remark=arguments.remark)
    return Outcome(report.WrittenReport(files=tuple(written)), "\n".join(map(str, written)))


def run_compare(arguments: argparse.Namespace) -> Outcome:
    """Run ``compare``: exit code 1 if a case is significantly slower, or wrong."""
    changes, only = comparison.compare(load_result(arguments.old), load_result(arguments.new))
    if not changes:
        raise UsageError("The two results have no case in common.", hint="measure the same models, threads and batches")
    bad = [change for change in changes if change.verdict in ("slower", "wrong")]
    found = comparison.CompareReport(changes=tuple(changes), only_in_one=tuple(only), slower=len(bad))
    return Outcome(found, comparison.text(changes, only), passed=not bad)


def run_int8(arguments: argparse.Namespace) -> Outcome:
    """Run ``todays-int8``: make the INT8 model of onnxruntime's ``quantize_static``."""
    from benchmarks import static_int8

    static_int8.quantize(arguments.model, arguments.output, arguments.photos, count=arguments.count)
    size = arguments.output.stat().st_size
    made = static_int8.Int8Model(model=arguments.output, bytes=size)
    return Outcome(made, f"{made.model}: {size / (1 << 20):.1f} MiB")


def run_sessions(arguments: argparse.Namespace) -> Outcome:
    """Run ``sessions``: compare settings of the session."""
    from benchmarks import sessions

    timed = environment.TimedRun()
    rows = sessions.measure(
        arguments.model,
        threads=arguments.threads or list(range(1, usable_cpus() + 1)),
        rounds=arguments.rounds,
        starts=arguments.starts,
        pause_ms=arguments.pause_ms,
        progress=Progress("processes"),
    )
    result = sessions.SessionsReport(environment=timed.describe(), sessions=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, sessions.text(rows))


def run_rhythm(arguments: argparse.Namespace) -> Outcome:
    """Run ``rhythm``: latency and processor time at the rates of a camera."""
    from benchmarks import rhythm

    timed = environment.TimedRun()
    rows = rhythm.measure(
        arguments.model,
        threads=arguments.threads or list(range(1, usable_cpus() + 1)),
        rates=arguments.rates,
        faces=arguments.faces,
        peers=arguments.peers,
        progress=Progress("turns"),
    )
    result = rhythm.RhythmReport(environment=timed.describe(), evict_mib=rhythm.EVICT_MIB, rhythm=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, rhythm.text(rows))


class _Named:
    """Progress whose description changes during the run."""

    def __init__(self) -> None:
        self._what = ""
        self._progress: Progress | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what or self._progress is None:
            self._what, self._progress = what, Progress(what)
        self._progress(done, total)


def _foot(result: latency.LatencyReport) -> str:
    where = result.environment.environment
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    slow = " THROTTLED during the run." if result.throttled else ""
    busy = environment.busy_text(result.environment.other_work)
    warning = f" BUSY: {busy}; timings are longer than on an idle machine." if busy else ""
    load = environment.load_text(result.environment)
    return f"{where.cpu}, {where.usable_cpus} processors; {versions}.{slow}\n{load}.{warning}"
