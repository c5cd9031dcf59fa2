"""Counts of other runtimes on emulated cores, with this machine in the place of a core, and the cost model."""

import json
import math

import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.arm64 import cost_model, peers, peers_command, peers_report
from benchmarks.arm64.cores import CORES
from benchmarks.arm64.instructions import Counts, Traffic, read_counts
from benchmarks.arm64.ncnn_networks import NETWORKS, network_graph
from benchmarks.arm64.skipped_cases import parse_skip
from benchmarks.emulation.debian import EmulationError
from benchmarks.emulation.processors import PROCESSORS
from edge_sphereface.cli.runner import UsageError, run
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import json_text


def counts(vector=0, lines=0, *, written_back=0):
    """Counts of an inference with this many vector instructions and lines that the last level lacks."""
    traffic = Traffic(loaded_bytes=0, stored_bytes=0, misses=(lines, lines), written_back=written_back)
    return Counts(instructions=vector, vector=vector, multiply_adds=0, vector_memory=0, other_memory=0, traffic=traffic)


@pytest.fixture(scope="module")
def specs(shallow_models):
    """A float model that every contender reads, and one for crops."""
    return {path: Embedder(path, provider="cpu").spec for path in (shallow_models["nchw"], shallow_models["image"])}


@pytest.mark.slow
def test_peers_are_counted(shallow_models, this_machine, tmp_path, require_schema, capsys):
    """Our runtime runs every model, the others the first; what ran is kept, and what failed has a reason."""
    models = [str(shallow_models[layout]) for layout in ("nchw", "image")]
    words = ["arm64", "peers", *models, "--peers", "onnxruntime_plain", "opencv_dnn", "--processors", "cortex-a76"]
    words += ["--folder", str(tmp_path / "folder"), "-o", str(tmp_path / "results")]
    arguments = build_parser().parse_args(words)
    outcome = peers_command.run_peers(arguments, this_machine)
    found = json.loads(json_text(outcome.result))
    require_schema("benchmarks arm64 peers", found)
    assert outcome.passed
    assert [row["contender"] for row in found["peers"]] == ["edge", "edge", "onnxruntime_plain", "opencv_dnn"]
    for row in found["peers"]:
        assert row["counted"]["cosine"] == pytest.approx(1, abs=1e-6)
        assert row["counted"]["counts"]["instructions"] == 500
        assert row["counted"]["counts"]["traffic"]["misses"] == [10, 10, 10]
        assert row["counted"]["version"]
    assert json.loads((tmp_path / "results" / "peers.json").read_text()) == found
    page = (tmp_path / "results" / "peers.md").read_text()
    assert "with the caches of Raspberry Pi 5" in page
    kept = sorted((tmp_path / "folder" / "counts").iterdir())
    assert len(kept) == 4
    kept[0].write_text("{")  # what is damaged is counted again; the others are taken as they are
    kept[1].write_text(kept[1].read_text().replace('"instructions": 500', '"instructions": 7'))
    again = json.loads(json_text(peers_command.run_peers(arguments, this_machine).result))
    assert sorted(row["counted"]["counts"]["instructions"] for row in again["peers"]) == [7, 500, 500, 500]
    capsys.readouterr()


def test_a_case_that_fails_is_a_row(specs):
    class Failing:
        def count(self, case):
            raise EmulationError(f"{case.contender} died")

    cases = peers.select_peer_cases(specs, ["ncnn"], ["cortex-a72"])
    notes, steps = [], []
    rows = peers.count_peers(cases, Failing(), note=notes.append, progress=lambda *step: steps.append(step))
    assert [row.error for row in rows] == ["edge died", "edge died", "ncnn died"]
    assert all(row.counted is None and row.modelled_ms is None for row in rows)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert "ncnn died" in notes[-1]


def test_a_case_that_is_left_out_is_a_row_with_the_reason(specs):
    """It does not run, and does not make the command fail."""

    class Refusing:
        def count(self, case):
            assert case.processor == "cortex-a53"
            raise EmulationError("counted")

    cases = peers.select_peer_cases(specs, ["ncnn"], ["cortex-a53", "cortex-a72"])
    contenders, second = ("edge", "ncnn"), list(specs)[1].name
    skips = [
        parse_skip("edge@cortex-a72=it takes an hour", contenders=contenders),
        parse_skip(f"edge@cortex-a53:{second}=it is like the first one", contenders=contenders),
        parse_skip("ncnn@cortex-a72:float32=so does it", contenders=contenders),
        parse_skip("ncnn@cortex-a53:int8=there is none", contenders=contenders),
    ]
    rows = peers.count_peers(cases, Refusing(), skips=skips)
    assert [(row.error, row.skipped) for row in rows] == [
        ("counted", ""),
        ("", "it is like the first one"),
        ("counted", ""),
        ("", "it takes an hour"),
        ("", "it takes an hour"),
        ("", "so does it"),
    ]
    assert all(row.counted is None for row in rows)


@pytest.mark.parametrize("words", ["ncnn", "ncnn@cortex-a53", "ncnn@cortex-a53=", "ncnn@z80=slow", "tvm@cortex-a53=x"])
def test_cases_to_leave_out_need_a_known_name_and_a_reason(words, capsys):
    assert run(build_parser(), ["arm64", "peers", "x.onnx", "--skip", words]) == 2
    assert "expected CONTENDER@CORE[:PRECISION or FILE]=REASON" in capsys.readouterr().err


def test_half_precision_is_for_cores_that_have_it(specs):
    cases = peers.select_peer_cases(specs, ["ncnn", "onnxruntime_plain"], ["cortex-a72", "cortex-a76"])
    halves = [(case.processor, case.contender) for case in cases if case.precision == "float16"]
    assert halves == [("cortex-a76", "ncnn")]
    assert "in float16" in next(case.label for case in cases if case.precision == "float16")


def test_the_first_model_is_one_that_all_read(specs):
    with pytest.raises(UsageError, match="float32 file with layout nchw"):
        peers.select_peer_cases(dict(reversed(specs.items())), [], ["cortex-a72"])


def test_an_output_of_something_else_is_no_count(specs, shallow_models, this_machine, tmp_path):
    """A contender that computes another network is an error, whatever it takes."""
    reference = shallow_models["nchw"]
    counter = peers.PeerCounter(this_machine, reference, tmp_path)
    (case,) = peers.select_peer_cases({reference: specs[reference]}, [], ["cortex-a72"])
    crops = np.load(tmp_path / "crops.npy")
    np.save(tmp_path / "crops.npy", np.random.default_rng(1).integers(0, 256, crops.shape, dtype=np.uint8))
    with pytest.raises(EmulationError, match="cosine of at least 0.99"):
        counter.count(case)


def test_a_file_that_is_not_there(capsys, tmp_path):
    assert run(build_parser(), ["arm64", "peers", str(tmp_path / "none.onnx")]) == 2
    assert "There is no file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "1 2 3 4 5\n" * 2, "1 2 3 4 5 6 7 8\n" * 3, "1 2 3 4\n" * 3])
def test_other_marks_are_refused(text):
    with pytest.raises(EmulationError, match="three marks with 5 counts"):
        read_counts(text)


# --- the cost model ----------------------------------------------------------------------------------------------


def test_time_is_arithmetic_and_transfers():
    """By hand: 180 million vector instructions at 1.8 per ns, and 2 million lines of 64 bytes at 5 bytes per ns."""
    work = counts(180_000_000, 1_500_000, written_back=500_000)
    assert cost_model.modelled_ms(work, CORES["cortex-a72"], 5.0) == pytest.approx(100 + 25.6)
    assert cost_model.modelled_ms(work, CORES["cortex-a72"], 5.0, threads=4) == pytest.approx(25 + 25.6)


def test_counts_without_caches_have_no_model():
    work = Counts(instructions=1, vector=1, multiply_adds=0, vector_memory=0, other_memory=0)
    with pytest.raises(ValueError, match="traffic"):
        cost_model.modelled_ms(work, CORES["cortex-a72"], 5.0)


def row(ms, work, *, threads=1, is_fitted=True, processor="cortex-a72"):
    network = cost_model.Network(processor=processor, network="resnet18", precision="float32", ncnn="1")
    return cost_model.Published(network=network, threads=threads, ms=ms, is_fitted=is_fitted), work


def test_the_bandwidth_is_found_and_judged_by_other_pairs():
    """Pairs that the model made are fitted without error; one that took a quarter longer is judged, not fitted."""
    works = [counts(10_000_000, 20_000), counts(50_000_000, 900_000), counts(90_000_000, 10_000)]
    times = [cost_model.modelled_ms(work, CORES["cortex-a72"], 4.0) for work in works]
    rows = [row(ms, work) for ms, work in zip(times, works, strict=True)]
    found = cost_model.fit([*rows, row(times[0] / 0.8, works[0], is_fitted=False)])
    assert found.bandwidth_gb_s == {"cortex-a72": pytest.approx(4.0)}
    assert [pair.error for pair in found.pairs] == pytest.approx([0, 0, 0, -0.2])
    assert found.largest_error == {"cortex-a72": pytest.approx(0.2)}


def test_a_published_bandwidth_is_judged_by_all_pairs():
    """By hand: 96 million vector instructions at 4.8 per ns, a million lines of 64 bytes at 10.5464 bytes per ns."""
    found = cost_model.fit([row(25.0, counts(96_000_000, 1_000_000), is_fitted=False, processor="cortex-a76")])
    assert found.bandwidth_gb_s == {"cortex-a76": pytest.approx(10.5464)}
    assert found.largest_error == {"cortex-a76": pytest.approx((20 + 64 / 10.5464) / 25 - 1)}


@pytest.mark.parametrize("rows", [[row(1.0, counts(1_000_000, 1000), is_fitted=False)], [row(0.1, counts(1_000_000))]])
def test_pairs_that_determine_nothing_are_refused(rows):
    """None to fit to, and one that is shorter than its arithmetic."""
    with pytest.raises(ValueError, match="Expected times of cortex-a72"):
        cost_model.fit(rows)


def test_published_times_judge_more_than_they_fit():
    """Fitted are times with one thread of boards without a published bandwidth; ResNet-18 judges every board."""
    rows = cost_model.published()
    fitted = [one for one in rows if one.is_fitted]
    assert {one.threads for one in fitted} == {1}
    assert not [one for one in fitted if one.network.network == "resnet18" or CORES[one.network.processor].memory_gb_s]
    assert len(rows) >= 4 * len(fitted)
    assert {one.network.network for one in rows} <= set(NETWORKS)


def test_the_page_names_the_model_a_model():
    work = counts(1_000_000, 1000)
    pair = cost_model.ModelledPair(published=row(2.0, work)[0], counts=work, modelled_ms=1.5, error=-0.25)
    model = cost_model.CostModel(bandwidth_gb_s={"cortex-a72": 5.0}, pairs=(pair,), largest_error={})
    counted = peers.Counted(version="1", cosine=1.0, counts=work)
    made = [
        peers.PeerRow(
            processor="cortex-a72",
            label=name,
            contender="ncnn",
            model="x.onnx",
            precision="float32",
            graph="plain",
            counted=result,
            modelled_ms=1.5 if result else None,
            error="" if result else "it died",
        )
        for name, result in (("runs", counted), ("fails", None))
    ]
    report = peers_report.PeersReport(
        environment=None, emulator="QEMU 1", reference="x.onnx", network="N", peers=tuple(made), model=model
    )
    page = peers_report.text(report)
    assert "model, ms" in page
    assert "-25%" in page
    assert "failed: it died" in page
    assert "A count is no time" in page


# --- networks of ncnn's benchmark --------------------------------------------------------------------------------

PARAMETERS = {
    "squeezenet": 1.24e6, "mobilenet": 4.23e6, "mobilenet_v2": 3.50e6, "resnet18": 11.69e6, "resnet50": 25.56e6,
}  # fmt: skip
"""Number of weights that the papers and torchvision state."""


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_is_whole(name):
    """Each blob is made once and read once, the header counts layers and blobs, and the weights are as published."""
    magic, header, *lines = network_graph(name).splitlines()
    assert magic == "7767517"
    made, read, weights = [], [], 0
    for line in lines:
        kind, _, inputs, outputs, *rest = line.split()
        blobs, parameters = rest[: int(inputs) + int(outputs)], rest[int(inputs) + int(outputs) :]
        read += blobs[: int(inputs)]
        made += blobs[int(inputs) :]
        values = dict(word.split("=", 1) for word in parameters)
        weights += int(values.get("2" if kind == "InnerProduct" else "6", 0)) if "Pool" not in kind else 0
    assert header == f"{len(lines)} {len(made)}"
    assert len(set(made)) == len(made)
    assert sorted([*read, made[-1]]) == sorted(made)
    assert weights == pytest.approx(PARAMETERS[name], rel=0.01)


def test_the_cores_are_those_of_the_emulator():
    assert {core.emulated_as or name for name, core in CORES.items()} <= PROCESSORS.keys()
    for core in CORES.values():
        for cache in core.caches:
            assert math.log2(cache.bytes / 64 / cache.ways).is_integer()
