"""Choosing on the device: the fastest form that is right here, and why the others are not it."""

import json
import shutil
import weakref
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edge_sphereface.cli import tune_command
from edge_sphereface.cli.tune_command import rival_lines
from edge_sphereface.errors import ModelFormatError
from edge_sphereface.evaluation import latency, model_selection
from edge_sphereface.evaluation.model_selection import Measurement, Setting, choose, settings
from edge_sphereface.evaluation.timing import Deadline
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.quantization import WEIGHT_BITS, ProcessorWarning
from edge_sphereface.model.spec import METADATA_KEY
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.untrained import untrained_parameters


@pytest.fixture
def forms(small_model, tmp_path):
    """Two copies of a model with their certificates."""
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        shutil.copy(small_model, path)
        shutil.copy(certificate_path(small_model), certificate_path(path))
    return paths


def times(monkeypatch, median_ms):
    """A clock that knows which file is run with which setting, and how often it was loaded."""
    loads = Counter()

    def measure(cases, *, rounds, warmup):
        embedder = cases["inference"].func.__self__
        key = embedder.path.name, embedder.config.threads
        loads[key] += 1
        jitter = np.random.default_rng([ord(key[0][0]), key[1], loads[key]]).normal(0, 0.02)
        return {"inference": np.full(rounds, median_ms(*key, loads[key]) * np.exp(jitter))}

    monkeypatch.setattr(latency, "measure_interleaved", measure)
    return loads


@pytest.fixture
def timed(monkeypatch):
    """b.onnx is the faster one."""
    return times(monkeypatch, lambda name, threads, _: (3.0 if name == "a.onnx" else 1.0) / threads)


def test_settings_are_every_combination():
    assert settings([1, 2, 1]) == [Setting(threads=1), Setting(threads=2)]
    every = settings([1, 2], pinned=True, arena=True)
    assert len(every) == 6
    assert not any(setting.pinned_threads for setting in every if setting.threads == 1)
    assert str(every[-1]) == "2 threads, pinned, arena"


def test_only_the_cpu_provider_has_pinned_threads_and_the_arena(tmp_path):
    every = settings([1, 2], pinned=True, arena=True, providers=["cpu", "openvino"])
    assert [setting for setting in every if setting.provider == "openvino"] == [
        Setting(threads=1, provider="openvino"),
        Setting(threads=2, provider="openvino"),
    ]
    assert len(every) == 6 + 2
    assert str(every[-1]) == "openvino, 2 threads"
    assert settings([1], providers=["CPUExecutionProvider", "cpu"]) == [Setting(threads=1, provider="cpu")], "one"
    for_ncnn = tmp_path / "x.ncnn"
    assert Setting(threads=1, provider="cpu").suits(for_ncnn)
    assert not Setting(threads=1, provider="openvino").suits(for_ncnn)


def test_every_provider_is_timed_and_the_faster_one_is_named(forms, monkeypatch, cli, require_schema):
    """Both names lead to the CPU here; the clock tells them apart, as two providers would differ."""
    name = "auto"

    def measure(cases, *, rounds, warmup):
        config = cases["inference"].func.__self__.config
        taken = (1.0 if config.provider == name else 3.0) * np.exp(np.random.default_rng(0).normal(0, 0.02, rounds))
        return {"inference": taken}

    monkeypatch.setattr(latency, "measure_interleaved", measure)
    monkeypatch.setattr(tune_command, "_resolved", list)
    words = ["tune", *forms, "--provider", "cpu", name, "--threads", "1"]
    code, shown, _ = cli(*words, "--json")
    assert code == 0
    report = json.loads(shown)
    require_schema("tune", report)
    assert {(row["model"][-6:], row["provider"]) for row in report["rows"]} == {
        (form, provider) for form in ("a.onnx", "b.onnx") for provider in ("cpu", name)
    }
    assert report["best"]["provider"] == name
    assert not report["tie"]
    assert f"a.onnx with --threads 1 --provider {name}" in cli(*words)[1]


@pytest.mark.parametrize("target", ["portable", "openvino"])
def test_a_form_for_another_provider_is_left_out_with_the_reason(
    forms, make_onnx, quantization_record, timed, recwarn, target
):
    """And not warned of: to try both providers is what tune is for."""
    bits = WEIGHT_BITS[target]
    changes = {"quantization": replace(quantization_record, target=target, weight_bits=bits), "precision": "int8"}
    model = make_onnx(changes=changes)
    found = choose([model], settings([1]))
    assert bool(found.rows) == (target == "portable")
    if target == "openvino":
        assert "made for onnxruntime's OpenVINO provider" in found.dropped[0].dropped
    assert not [warning for warning in recwarn if issubclass(warning.category, ProcessorWarning)]
    reason = model_selection._other_provider(Embedder(model, provider="cpu").spec, "OpenVINOExecutionProvider")
    assert bool(reason) == (target == "portable")


def test_auto_is_the_best_provider_that_is_installed(forms, timed, cli):
    """Here the CPU's, with its settings, and named."""
    words = ["tune", *forms, "--threads", "1", "--memory-arena"]
    reports = [json.loads(cli(*words, "--provider", *names, "--json")[1]) for names in (["auto"], ["cpu", "auto"])]
    for report in reports:
        assert {(row["provider"], row["memory_arena"]) for row in report["rows"]} == {("cpu", False), ("cpu", True)}
        assert len(report["rows"]) == 4


def test_a_form_may_be_wrong_on_one_provider_alone(forms, timed, monkeypatch):
    name = "auto"
    honest = model_selection.check_on_device

    def check(embedder, certificate):
        found = honest(embedder, certificate)
        return replace(found, passed=embedder.config.provider != name or embedder.path != forms[1])

    monkeypatch.setattr(model_selection, "check_on_device", check)
    found = choose(forms, settings([1], providers=["cpu", name]), what=Measurement(rounds=4))
    assert {(row.form.path, row.setting.provider) for row in found.rows} == {
        (forms[0], "cpu"),
        (forms[0], name),
        (forms[1], "cpu"),
    }
    assert [form.path for form in found.dropped] == [forms[1]]
    assert found.dropped[0].dropped.startswith(f"on {name}: its certificate does not hold here")


@pytest.mark.slow
def test_the_fastest_comes_first(forms, timed):
    found = choose(forms, settings([1, 2]), what=Measurement(rounds=12))
    assert [(row.form.path.name, row.setting.threads) for row in found.rows] == [
        ("b.onnx", 2),
        ("b.onnx", 1),
        ("a.onnx", 2),
        ("a.onnx", 1),
    ]
    assert found.best is found.fastest
    assert (found.best.form.path.name, found.best.setting.threads) == ("b.onnx", 2)
    assert [row.latency.samples for row in found.rows] == [8, 2, 2, 2], "slow ones leave after the first round"
    assert found.best.latency.samples == 8, "the result is certain before the last of 12 rounds"
    assert not found.out_of_time
    assert all(row.form.certified for row in found.rows)


@pytest.mark.slow
def test_it_really_measures(forms):
    seen = []

    class Noting(Embedder):
        def forward(self, crops):
            seen.append(len(crops))
            return super().forward(crops)

    class NotingSetting(Setting):
        def open(self, model, provider, batch=1):
            return Noting(model, session=self.config(provider), batch_size=batch)

    found = choose(forms, [NotingSetting(threads=1)], what=Measurement(batch=6, rounds=7))
    assert all(row.latency.median_ms > 0 for row in found.rows)
    assert max(row.latency.samples for row in found.rows) == 3, "40 % of the samples, rounded up"
    again = 2 * (7 + 7 * 3) if found.rivals else 0
    searched = sum(row.latency.samples for row in found.rows)
    assert seen.count(6) == searched + searched * 3 + again


@pytest.mark.slow
def test_one_model_is_loaded_at_a_time(forms):
    """The memory needed is that of the largest, which a board counts on."""
    alive, most = weakref.WeakSet(), []

    class Counting(Setting):
        def open(self, *words):
            most.append(len(alive))
            embedder = super().open(*words)
            alive.add(embedder)
            return embedder

    choose(forms, [Counting(threads=1), Counting(threads=2)], what=Measurement(rounds=4))
    assert len(most) >= 4
    assert max(most) == 0


def test_a_form_whose_certificate_does_not_hold_is_dropped(forms, timed):
    certificate = json.loads(certificate_path(forms[1]).read_text())
    certificate["golden"]["embeddings"][0][0] += 1
    certificate_path(forms[1]).write_text(json.dumps(certificate))
    found = choose(forms, [Setting(threads=1)])
    assert [row.form.path for row in found.rows] == [forms[0]]
    (dropped,) = found.dropped
    assert "certificate does not hold" in dropped.dropped


@pytest.mark.slow
def test_a_form_without_certificate_is_measured_and_said(forms, timed, cli):
    certificate_path(forms[1]).unlink()
    code, shown, errors = cli("tune", *forms, "--threads", "1", "--json")
    assert code == 0
    assert json.loads(shown)["best"]["model"] == str(forms[1])
    assert "b.onnx has no certificate" in errors


@pytest.mark.slow
def test_a_lucky_winner_of_the_search_is_measured_anew(forms, monkeypatch):
    """b.onnx looked faster while it was searched for; once more it is not, and the two tie."""
    times(monkeypatch, lambda name, _, load: 0.8 if name == "b.onnx" and load <= 4 else 1.0)
    found = choose(forms, [Setting(threads=1)])
    assert found.rows[0].form.path == found.fastest.form.path == forms[1]
    assert found.is_tie
    assert found.best.form.path == forms[0]
    (rival,) = found.rivals
    assert rival.ratio.verdict == "tie"
    assert rival.ratio.rounds == 8, "more rounds would hardly make it faster"
    taken = rival_lines(found)[-1]
    assert taken == "taken: a.onnx, 1 thread, the simplest that the fastest is not measurably faster than"


@pytest.mark.slow
def test_of_ways_that_tie_the_one_with_fewer_threads_is_taken(forms, monkeypatch):
    times(
        monkeypatch, lambda name, threads, load: 3.0 if name == "a.onnx" else 0.96 if threads == 4 and load < 6 else 1.0
    )
    found = choose(forms, settings([1, 2, 4]))
    assert (found.fastest.setting.threads, found.best.setting.threads) == (4, 1)
    assert found.best.form.path == forms[1]


@pytest.mark.slow
def test_a_small_gain_is_measured_in_more_rounds_than_a_large_one(forms, monkeypatch):
    """The plain a.onnx is far slower; that 2 threads are faster than one takes more rounds to tell."""
    times(monkeypatch, lambda name, threads, _: 2.0 if name == "a.onnx" else {1: 1.0, 2: 0.988}[threads])
    found = choose(forms, settings([1, 2]))
    rounds = {(rival.row.form.path.name, rival.row.setting.threads): rival.ratio.rounds for rival in found.rivals}
    assert rounds["a.onnx", 2] == 8
    assert rounds["b.onnx", 1] > 8


def test_no_round_starts_after_the_deadline(forms, timed):
    now = iter(range(100))
    found = choose(forms, settings([1, 2]), deadline=Deadline(4, lambda: next(now)))
    assert found.out_of_time
    assert found.rows[0].latency.samples == 20, "two of five rounds"
    assert [rival.ratio.rounds for rival in found.rivals] == [1] * len(found.rivals)
    assert found.is_tie, "one round decides nothing"


def test_too_few_rounds_decide_nothing(forms, timed, cli):
    code, shown, _ = cli("tune", *forms, "--threads", "1", "--rounds", "4")
    assert code == 0
    assert "too few rounds" in shown
    assert "as fast" in shown


def test_forms_that_are_measured_beside_are_not_chosen(forms, timed):
    found = choose(forms, [Setting(threads=1)], beside=[forms[1]])
    assert [row.form.path for row in found.rows] == forms[::-1]
    assert found.best.form.path == forms[0]
    assert found.rivals == ()


@pytest.mark.slow
def test_size_and_accuracy_are_bounds(forms, timed):
    assert choose(forms, [Setting(threads=1)], max_mib=0.001).best is None
    assert choose(forms, [Setting(threads=1)], min_cosine=0.9).best is not None


def test_quantized_forms_must_be_as_exact_as_is_asked(forms, timed, quantization_record):
    record = replace(quantization_record, cosine_mean=0.99)
    model = onnx.load(forms[1])
    spec = replace(Embedder(forms[1]).spec, precision="int8", quantization=record)
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, forms[1])
    certificate_path(forms[1]).unlink()
    found = choose(forms, [Setting(threads=1)], min_cosine=0.995)
    assert found.best.form.path == forms[0]
    assert "0.99000, is less than 0.995" in found.dropped[0].dropped


def test_forms_of_different_networks_are_not_compared(small_model, tmp_path):
    write_ckpt(tmp_path / "y.ckpt", untrained_parameters(depth=4, widths=(4, 4, 4, 8), embedding_size=8))
    other = convert(tmp_path / "y.ckpt", tmp_path / "y.onnx", ConversionOptions(reference="numpy")).model
    with pytest.raises(ModelFormatError, match="different checkpoints"):
        choose([small_model, other], [Setting(threads=1)])


@pytest.mark.slow
def test_the_fastest_is_copied_with_its_certificate(forms, timed, cli, tmp_path):
    output = tmp_path / "best.onnx"
    certificate_path(output).write_text("of another file")
    code, shown, errors = cli("tune", *forms, "--threads", "1", "2", "-o", output)
    assert code == 0, errors
    assert "a.onnx, 2 threads: 0." in shown
    assert "fastest" in shown
    assert "b.onnx with --threads 2" in shown
    assert output.read_bytes() == forms[1].read_bytes()
    assert cli("verify-model", output)[0] == 0


def test_no_model_is_overwritten(forms, cli, tmp_path):
    cases = ((forms[0], "is an input of this command"), (tmp_path / "none" / "x.onnx", "There is no folder"))
    for output, reason in cases:
        code, _, errors = cli("tune", *forms, "-o", output)
        assert code == 2
        assert reason in errors


def test_nothing_that_may_run_is_a_failure(forms, cli):
    code, shown, _ = cli("tune", *forms, "--max-mib", "0.001")
    assert code == 1
    assert "No form may run here." in shown
