"""What other tools print, read from samples of real output. The source of each sample is named beside it."""

import json
import re

import pytest

from benchmarks.ascend import checked, imported
from benchmarks.ascend.formats.recording import ImportedError, Stated
from edge_sphereface.json_output import json_object, json_text
from edge_sphereface.kit.check import KitAgreement, KitCheck, NamedMistake
from edge_sphereface.kit.result import KitLatency, KitResult
from edge_sphereface.model.certificate import Bounds, device_bounds

LINE = "[INFO] ------------------------------------------------------\n"
# msit benchmark, documentation of --energy-consumption (English page)
AIS_BENCH = f"""\
[INFO] acl init success
[INFO] open device 0 success
[INFO] load model pth_resnet50_bs1.om success
[INFO] try get model batchsize:1
[INFO] warm up 1 done
loop inference exec: (100/100)
[INFO] -----------------Performance Summary------------------
[INFO] NPU_compute_time (ms): min = 2.4769999980926514, max = 3.937000036239624, mean = 3.5538000106811523, \
median = 3.7230000495910645, percentile(99%) = 3.936680030822754
[INFO] throughput 1000*batchsize.mean(1)/NPU_compute_time.mean(3.5538000106811523): 281.38893494131406
{LINE}[INFO] NPU ID:4 energy consumption(J):59.88656545251415
[INFO] unload model success, model Id is 1
"""
# README of ais_bench (Ascend/tools), "multi device"
SECOND_DEVICE = f"""\
[INFO] -----------------Performance Summary------------------
[INFO] NPU_compute_time (ms): min = 3.3889999389648438, max = 3.9230000972747803, mean = 3.616000032424927, \
median = 3.555000066757202, percentile(99%) = 3.9134000968933105
[INFO] throughput 1000*batchsize.mean(1)/NPU_compute_time.mean(3.616000032424927): 276.54867008654026
{LINE}"""
DEVICES = """\
[INFO] multidevice run end qsize:4 result:1
i:0 device_1 throughput:281.38893494131406 start_time:1676875630.804429 end_time:1676875630.8303885
i:1 device_2 throughput:276.54867008654026 start_time:1676875630.8043878 end_time:1676875630.8326817
[INFO] summary throughput:557.9376050278543
"""
FIRST_DEVICE = AIS_BENCH.split("[INFO] NPU ID", maxsplit=1)[0].replace(
    "[INFO] warm up", "[INFO] try get model batchsize:1\n[INFO] warm up"
)
# Ascend/ModelZoo-PyTorch, Rosetta (ais_bench before batchsize.mean), with --display_all_summary
OLDER_AIS_BENCH = """\
[INFO] H2D_latency (ms): min = 0.10275840759277344, max = 0.10275840759277344, mean = 0.10275840759277344, \
median = 0.10275840759277344, percentile(99%) = 0.10275840759277344
[INFO] NPU_compute_time (ms): min = 0.40299999713897705, max = 3.2839999198913574, mean = 0.4343369999527931, \
median = 0.42399999499320984, percentile(99%) = 0.5660099846124649
[INFO] D2H_latency (ms): min = 0.0, max = 0.0, mean = 0.0, median = 0.0, percentile(99%) = 0.0
[INFO] throughput 1000*batchsize(1)/NPU_compute_time.mean(0.4343369999527931): 2302.359688694924
"""
# Ascend/ModelZoo-PyTorch, a page of 2022 that used ais_infer
AIS_INFER = """\
[INFO] NPU_compute_time (ms): min = 0.7803440093994141, max = 0.7803440093994141, mean = 0.7803440093994141, \
median = 0.7803440093994141, percentile(99%) = 0.7803440093994141
[INFO] throughput (1000*batchsize/NPU_compute_time): 1281.4860983806905
"""
# Ascend/ModelZoo-PyTorch, RetinaFace: the page's own D2H median is above its 99th percentile
CONTRADICTION = """\
[INFO] D2H_latency (ms): min = 0.7348060607910156, max = 20.054101943969727, mean = 0.9609072827731167, \
median = 17.602324485778812, percentile(99%) = 1.1380910873413086
[INFO] NPU_compute_time (ms): min = 0.9319999814033508, max = 1.7660000324249268, mean = 0.9820722253774902, \
median = 0.9710000157356262, percentile(99%) = 1.15799999923706055
[INFO] throughput 1000*batchsize(1)/NPU_compute_time.mean(0.9820722253774902): 1018.2550469906821
"""
# No real output of --pipeline was found; the format is that of summary.py in Ascend/tools (multi_threads)
PIPELINE = """\
[INFO] NPU_compute_time (ms): mean = 1.25
[INFO] throughput 1000*batchsize.mean(4)/NPU_compute_time.mean(1.25): 3200.0
"""
# Ascend/ModelZoo-TensorFlow, contrib/cv/sphereface/ATC_sphereface_caffe_AE/README.MD
MSAME = """\
[INFO] output data success
Inference average time: 7.687250 ms
Inference average time without first time: 7.685848 ms
[INFO] unload model success, model Id is 1
Test Finish!
"""
# Ascend/ModelZoo-TensorFlow, a page with the time of each call (shortened to three calls)
MSAME_CALLS = """\
[INFO] model execute success
Inference time: 105.461ms
[INFO] model execute success
Inference time: 105.383ms
[INFO] model execute success
Inference time: 105.504ms
[INFO] get max dynamic batch size success
Inference average time: 105.417100 ms
Inference average time without first time: 105.422889 ms
"""
# mindspore-ai/models: SE-ResNeXt50's test_perform_static.txt, and DCRNN's infer.log
STATIC = "NN inference cost average time: 57.1542 ms of infer_count 50000\n"
INFER_LOG = "NN inference cost average time: 651.98ms of infer_count 54\neval result:  2.701705907781919\n"
# No real output was found; the format is that of main.cpp in mindspore-ai/models, infer/mxbase, of sibling networks
MXBASE = "I1127 03:00:00.000000  1 main.cpp:62] [Process Delay] cost: 65000.5 ms\tfps: 97.5 imgs/sec\n"
# MindSpore Lite's documentation of benchmark (r2.6.0rc1), both spellings
LITE = (
    "Model = model.ms, numThreads = 2, MinRunTime = 72.228996 ms, MaxRuntime = 73.094002 ms, AvgRunTime = 72.556000 ms"
)
LITE_TOO = (
    "Model = model.ms, NumThreads = 1, MinRunTime = 0.104000 ms, MaxRunTime = 0.179000 ms, AvgRunTime = 0.116000 ms"
)
# Ascend/ModelZoo-PyTorch, contrib/cv/classfication/ResNet18: perf_vision_batchsize_1_device_0.txt
BENCHMARK = """\
[e2e] throughputRate: 336.39, latency: 148637
[data read] throughputRate: 357.787, moduleLatency: 2.79496
[preprocess] throughputRate: 357.147, moduleLatency: 2.79997
[infer] throughputRate: 338.442, Interface throughputRate: 787.709, moduleLatency: 2.21785
[post] throughputRate: 338.44, moduleLatency: 2.95473
"""
# a log of trtexec 10 in a public repository (31 August 2025)
TRTEXEC = """\
[08/31/2025-21:07:11] [I] === Performance summary ===
[08/31/2025-21:07:11] [I] Throughput: 44.0045 qps
[08/31/2025-21:07:11] [I] Latency: min = 26.8655 ms, max = 31.8876 ms, mean = 27.9016 ms, median = 27.4583 ms, \
percentile(90%) = 29.5156 ms, percentile(95%) = 29.9088 ms, percentile(99%) = 31.5781 ms
[08/31/2025-21:07:11] [I] Enqueue Time: min = 0.684082 ms, max = 1.16016 ms, mean = 0.79691 ms, median = 0.771881 ms
[08/31/2025-21:07:11] [I] H2D Latency: min = 3.38843 ms, max = 3.40283 ms, mean = 3.39401 ms, median = 3.39343 ms, \
percentile(90%) = 3.39789 ms, percentile(95%) = 3.39929 ms, percentile(99%) = 3.40131 ms
[08/31/2025-21:07:11] [I] GPU Compute Time: min = 21.4507 ms, max = 26.4669 ms, mean = 22.4855 ms, \
median = 22.0431 ms, percentile(90%) = 24.1021 ms, percentile(95%) = 24.494 ms, percentile(99%) = 26.1577 ms
[08/31/2025-21:07:11] [I] D2H Latency: min = 2.02002 ms, max = 2.02661 ms, mean = 2.02203 ms, median = 2.02185 ms
[08/31/2025-21:07:11] [I] Total GPU Compute Time: 3.05803 s
"""
# README of mindspore-ai/models, research/cv/sphereface
LFW = "now the idx is %d 9\nLFWACC=0.9922 std=0.0044 thd=0.2800\n"
# Ascend/ModelZoo-PyTorch, GhostNet at batch 16: sumary.json (the throughput is the page's formula)
SUMMARY = {
    "NPU_compute_time": {
        "min": 3.8949999809265137,
        "max": 81.9729995727539,
        "mean": 4.652794558563232,
        "median": 3.9760000705718994,
        "percentile(99%)": 9.564919853210439,
    },
    "H2D_latency": {
        "min": 1.6279220581054688,
        "max": 43.206214904785156,
        "mean": 4.154865646362305,
        "median": 1.985788345336914,
        "percentile(99%)": 18.392877578735302,
    },
    "throughput": 16 * 1000 / 4.652794558563232,
}


@pytest.fixture
def read(tmp_path):
    """Import a text or JSON values; gives the rows."""

    def written(content, *, name="run.log", **stated):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return imported.read(path, Stated(source="our lab", **stated))

    return written


@pytest.mark.parametrize(
    ("text", "path", "includes", "mean_ms", "rate", "batch"),
    [
        (AIS_BENCH, "ais_bench", "compute", 3.5538000106811523, 281.38893494131406, 1),
        (OLDER_AIS_BENCH, "ais_bench", "compute", 0.4343369999527931, 2302.359688694924, 1),
        (AIS_INFER, "ais_bench", "compute", 0.7803440093994141, 1281.4860983806905, None),
        (PIPELINE, "ais_bench", "compute", None, 3200.0, 4),
        (MSAME, "msame without the first call", "compute", 7.685848, None, None),
        (MSAME_CALLS, "msame without the first call", "compute", 105.422889, None, None),
        ("Inference average time : 2.71 ms", "msame", "compute", 2.71, None, None),
        (STATIC, "MindSpore's program for Ascend 310", "compute and copies", 57.1542, None, None),
        (INFER_LOG, "MindSpore's program for Ascend 310", "compute and copies", 651.98, None, None),
        (MXBASE, "MxBase", "compute and copies", None, 97.5, None),
        (LITE, "MindSpore Lite, benchmark", "compute and copies", 72.556, None, None),
        (LITE_TOO, "MindSpore Lite, benchmark", "compute and copies", 0.116, None, None),
        (TRTEXEC, "trtexec", "compute", 22.4855, None, None),
        (SUMMARY, "ais_bench", "compute", 4.652794558563232, SUMMARY["throughput"], 16),
    ],
)
def test_each_format(read, text, path, includes, mean_ms, rate, batch):
    (row,) = read(text)
    assert (row.path, row.includes, row.faces_per_second, row.batch) == (path, includes, rate, batch)
    assert (None if row.latency is None else row.latency.mean_ms) == mean_ms
    assert (row.origin, row.source, row.proof, row.file.name) == ("imported", "our lab", "not checked", "run.log")


def test_lfw(read):
    (row,) = read(LFW)
    assert (row.accuracy, row.accuracy_std, row.threshold) == (0.9922, 0.0044, 0.28)
    assert len(read(INFER_LOG + LFW)) == 2  # the original's logs, joined


def test_statistics_copies_and_energy(read):
    (row,) = read(AIS_BENCH, device="Ascend 310P3", precision="float16")
    assert json_object(row.latency) == {
        "samples": 100, "min_ms": 2.4769999980926514, "mean_ms": 3.5538000106811523, "median_ms": 3.7230000495910645,
        "p99_ms": 3.936680030822754, "max_ms": 3.937000036239624,
    }  # fmt: skip
    assert (row.device, row.precision, row.energy_j) == ("Ascend 310P3, NPU 4", "float16", 59.88656545251415)
    assert row.doubts == ()
    (row,) = read(OLDER_AIS_BENCH)
    assert (row.host_to_device.mean_ms, row.device_to_host.mean_ms) == (0.10275840759277344, 0.0)
    (row,) = read(TRTEXEC, batch=2)
    assert (row.latency.p95_ms, row.host_to_device.p99_ms) == (24.494, 3.40131)
    assert row.faces_per_second == 88.009  # calls of two faces
    (row,) = read(MSAME_CALLS)
    assert (row.latency.samples, row.latency.min_ms, row.latency.max_ms) == (2, 105.383, 105.504)


def test_several_devices_are_rows_of_their_own(read):
    loops = "loop inference exec: (100/100)\n"  # each device prints it
    first, second, together = read(loops + FIRST_DEVICE + SECOND_DEVICE + DEVICES, device="Ascend 310P3")
    assert [row.device for row in (first, second)] == ["Ascend 310P3, NPU 1", "Ascend 310P3, NPU 2"]
    assert [(row.batch, row.latency.samples) for row in (first, second)] == [(1, 100), (1, 100)]
    assert (together.path, together.faces_per_second) == ("ais_bench, 2 devices together", 557.9376050278543)
    assert together.latency is None


def test_the_older_benchmark_gives_the_device_and_the_stage(read):
    device, stage = read(BENCHMARK, name="perf_vision_batchsize_1_device_0.txt")
    assert (device.faces_per_second, device.latency, device.batch) == (787.709, None, 1)
    assert "one chip" in device.doubts[0]
    assert (stage.faces_per_second, stage.latency.mean_ms) == (338.442, 2.21785)
    _, stage = read(BENCHMARK)
    assert stage.latency is None, "the time of a sample is that of a call only at batch 1"


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        (AIS_BENCH.replace("281.38893494131406", "562.8"), "562.8 faces a second are printed"),
        (AIS_BENCH.replace("min = 2.4769", "min = 4.4769"), "the min 4.477 ms is above the median 3.723 ms"),
        (CONTRADICTION, "the median 17.6023 ms is above the p99 1.13809 ms"),
        (PIPELINE, "overlapped"),
        (MXBASE, "adds the time of each inference twice"),
        (MSAME_CALLS.replace("105.422889", "90.1"), "the mean of its 2 calls is 105.444 ms, and 90.1 ms is printed"),
        (LITE.replace("AvgRunTime = 72", "AvgRunTime = 92"), "the mean 92.556 ms is above the max 73.094 ms"),
        (TRTEXEC, "44.0045 calls a second"),
        ({**SUMMARY, "npu_compute_time_list": [4.0, 4.2]}, "the mean of its 2 samples is not the mean"),
    ],
)
def test_what_is_doubtful_is_in_the_row(read, text, doubt):
    (row,) = read(text)
    assert any(doubt in words for words in row.doubts), row.doubts


def test_a_batch_that_contradicts_the_run(read):
    (row,) = read(AIS_BENCH, batch=8)
    assert row.batch == 1
    assert row.doubts == ("batch 8 was stated, and the run printed batch 1",)
    (row,) = read(MSAME, batch=8)
    assert (row.batch, row.doubts) == (8, ())


@pytest.mark.parametrize("printed", ["1.5", "0", "1e99"])
def test_a_batch_that_cannot_be(read, printed):
    (row,) = read(AIS_BENCH.replace("batchsize.mean(1)", f"batchsize.mean({printed})").replace(":1\n", ":8\n"))
    assert row.batch in (None, 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no figures in a known format"),
        ("\x1b[31mnothing\x1b[0m", "no figures in a known format"),
        ("{}", "no figures in a known format"),
        ("{broken", "is not JSON"),
        ("LFWACC=abc std=1 thd=2\n", "has 'abc' as LFWACC"),
        ("LFWACC=99.2 std=1 thd=2\n", "expected a share from 0 to 1"),
        (AIS_BENCH + SECOND_DEVICE, "holds 2 runs of ais_bench"),
        (MSAME + MSAME, "holds 2 runs of msame"),
        (STATIC + STATIC, "holds 2 runs of the MindSpore program"),
        (MSAME + STATIC, "holds runs of msame without the first call and MindSpore's program"),
        (MSAME.replace("7.685848", "-7.685848"), "has -7.68585 ms as the mean"),
        (MSAME.replace("7.685848", "1e99"), r"has 1e\+99 ms"),
        (MSAME.replace("7.685848", "7,685848"), "has '7,685848' as the mean"),
        (MSAME.replace("7.685848", "7.685.848"), "has '7.685.848' as the mean"),
        (MSAME.replace("7.685848", "٣"), "has '٣' as the mean"),
        (MSAME.replace("7.685848", "nan"), "has 'nan' as the mean"),
        (AIS_BENCH.replace("batchsize.mean(1)", "batchsize.mean(1e400)"), "has '1e400' as batch size"),
        (AIS_BENCH.replace("(J):59", "(J):1e999"), "has '1e99"),
        (TRTEXEC.replace(" mean = ", " average = "), "has no mean of GPU Compute Time"),
        (AIS_BENCH.replace("mean = 3.5538000106811523", "mean = 0"), "has 0 ms as mean of NPU_compute_time"),
        (AIS_BENCH.replace(": 281.38893494131406", ": -281"), "has -281 a second as throughput"),
        (PIPELINE.splitlines(keepends=True)[0], "and no throughput"),
        ({**SUMMARY, "NPU_compute_time": {"mean": "fast"}}, "Expected float"),
        ({**SUMMARY, "NPU_compute_time": {}}, "no mean of NPU_compute_time"),
        ({**SUMMARY, "throughput": "fast"}, "expected a number"),
        ({"kind": "edge_sphereface.kit_result", "schema_version": 9}, "is not .* of version 1: it says"),
        ({"native": [{"path": "a", "latency": 5}]}, "Expected"),
    ],
)
def test_bad_input_is_one_clear_error(read, content, message):
    with pytest.raises(ImportedError, match=message):
        read(content)


@pytest.mark.parametrize("figure", ["min", "max", "mean", "median", "percentile(99%)"])
def test_a_comma_for_the_decimal_point_is_refused(read, figure):
    """Else the figure would be the number before the comma, a thousandth or less of what was measured."""
    with pytest.raises(ImportedError, match="expected a number such as 1.25"):
        read(AIS_BENCH.replace(f"{figure} = 3.", f"{figure} = 3,").replace(f"{figure} = 2.", f"{figure} = 2,"))


@pytest.mark.parametrize("text", [AIS_BENCH, MSAME, STATIC, MXBASE, LITE, BENCHMARK, TRTEXEC, LFW])
def test_a_number_that_the_end_of_the_file_cuts_is_refused(read, text):
    """Cut after any digit, a log gives an error or figures of the whole log."""
    whole = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}
    for end in (found.end() for found in re.finditer(r"\d", text)):
        try:
            rows = read(text[:end])
        except ImportedError:
            continue
        shown = [json_object(row) for row in rows]
        numbers = [value for row in shown for part in (row, row.get("latency", {})) for value in part.values()]
        assert whole.issuperset(value for value in numbers if isinstance(value, float)), text[:end]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("text", [MSAME, json.dumps(SUMMARY)])
def test_what_powershell_writes(tmp_path, encoding, text):
    path = tmp_path / "run.log"
    path.write_bytes(text.encode(encoding))
    (row,) = imported.read(path, Stated(source="our lab"))
    assert row.latency.mean_ms in (7.685848, SUMMARY["NPU_compute_time"]["mean"])
    path.write_bytes(json_text(check()).encode(encoding))
    assert checked.read_check(path).found == check()


def test_a_long_line_costs_nothing(read):
    """Progress bars rewrite one line; what no tool prints is left out before a pattern sees it."""
    bar = "\r".join(f"Inference array Processing: {done}%" for done in range(100))
    assert read(bar + "\n" + AIS_BENCH)
    with pytest.raises(ImportedError, match="no figures"):
        read("NPU_compute_time (ms): min = " * 100_000)


def result(**changes):
    facts = {
        "manifest_sha256": "a" * 64,
        "form": "float32-b1",
        "runtime": "ais_bench",
        "runtime_version": "0.0.2",
        "device": "Ascend 310P3",
        "precision": "float16",
        "batch": 2,
        "rounds": 50,
        "latency_ms": KitLatency(min=1.0, mean=2.0, median=2.0, p95=3.0, p99=4.0, max=5.0),
        "includes": "compute and copies",
        "outputs": "outputs.npy",
        "outputs_sha256": "b" * 64,
        "machine": "Kunpeng 920",
        "started_at": "2026-11-27T02:50:00Z",
    }
    return KitResult(**{**facts, **changes})


def check(**changes):
    facts = {
        "passed": True,
        "manifest_sha256": "a" * 64,
        "outputs_sha256": "c" * 64,
        "form": "float32-b1",
        "precision": "float16",
        "crops": 16,
        "bounds": device_bounds("float16"),
        "keeps": ("float16", "int8"),
        "agreement": KitAgreement(max_abs_error=0.001, min_cosine=0.9999, mean_cosine=1.0, worst_crop=3),
        "unit_length": False,
        "mistake": None,
    }
    return KitCheck(**{**facts, **changes})


@pytest.fixture
def judged(read, tmp_path):
    """Import a text with the check of its outputs; gives the row."""

    def joined(content, found, **stated):
        (row,) = read(content, **stated)
        path = tmp_path / "check.json"
        path.write_text(json.dumps(found) if isinstance(found, dict) else json_text(found))
        (judged,) = checked.join([row], checked.read_check(path))
        return judged

    return joined


def test_the_result_of_a_kit(read):
    (row,) = read(json_text(result()), name="result.json")
    assert (row.path, row.device, row.precision) == ("kit: ais_bench 0.0.2, form float32-b1", "Ascend 310P3", "float16")
    assert (row.batch, row.includes, row.faces_per_second) == (2, "compute and copies", 1000.0)
    assert (row.kit.sha256, row.machine) == ("a" * 64, "Kunpeng 920")
    (row,) = read(json_text(result()), precision="float32")
    assert row.doubts == ("precision float32 was stated, and the run says float16",)
    (row,) = read(json_text(result(device="CPUExecutionProvider")), device="Ascend 310P3")
    assert (row.device, row.doubts) == (
        "CPUExecutionProvider",
        ("device Ascend 310P3 was stated, and the run says CPUExecutionProvider",),
    )
    for stated, device in (("Atlas 300I Pro, Ascend-310P3", "Atlas 300I Pro, Ascend-310P3"), ("310P3", "Ascend 310P3")):
        (row,) = read(json_text(result()), device=stated)
        assert (row.device, row.doubts) == (device, ())
    with pytest.raises(ImportedError, match="nothing was timed"):
        read(json_text(result(rounds=0, latency_ms=None)))


def test_a_checked_run_is_proven_or_failed(judged, read):
    (row,) = read(json_text(result()))
    proven = judged(json_text(result()), check(result_sha256=row.file.sha256))
    assert (proven.proof, proven.doubts, proven.check.name) == ("proven", (), "check.json")
    mistake = NamedMistake(name="red-blue-swapped", explanation="x", remedy="y", agreement=None)
    failed = judged(json_text(result()), check(passed=False, mistake=mistake, result_sha256=row.file.sha256))
    assert failed.proof == "failed"
    assert failed.doubts == ("its outputs show a usual mistake: red-blue-swapped",)


def test_what_a_check_cannot_prove_is_said_or_refused(judged):
    log = judged(MSAME, check())
    assert log.proof == "proven"
    assert log.doubts == ("that the checked outputs are those of this run is the importer's word",)
    assert log.kit.sha256 == "a" * 64
    assert judged(MSAME, check(), precision="float32").doubts[1:] == (
        "the outputs keep the bounds of float16, and not of float32",
    )
    assert "importer's word" in judged(json_text(result()), check()).doubts[0]
    with pytest.raises(ImportedError, match="of another kit"):
        judged(json_text(result()), check(manifest_sha256="d" * 64))
    with pytest.raises(ImportedError, match="another result"):
        judged(json_text(result()), check(result_sha256="d" * 64))
    with pytest.raises(ImportedError, match="check"):
        judged(MSAME, result())
    with pytest.raises(ImportedError, match="another result"):
        judged(MSAME, check(result_sha256="d" * 64))
    with pytest.raises(ImportedError, match="passed must be true exactly if"):
        judged(MSAME, json_object(check()) | {"passed": False})
    lax = Bounds(max_abs_error=0.04, min_cosine=0.999)
    assert "checked with the kit's bounds, cosine 0.999" in judged(MSAME, check(bounds=lax)).doubts[1]


def test_a_check_belongs_to_one_run(read, tmp_path):
    path = tmp_path / "check.json"

    def joined(rows, found):
        path.write_text(json_text(found))
        return checked.join(rows, checked.read_check(path))

    (first,), (second,) = read(MSAME, name="a.log"), read(STATIC, name="b.log")
    with pytest.raises(ImportedError, match="2 files with times"):
        joined([first, second], check())
    (timed,) = read(json_text(result()), name="result.json")
    rows = joined([first, timed], check(result_sha256=timed.file.sha256))
    assert [row.proof for row in rows] == ["not checked", "proven"]
    assert rows[0].doubts == ("check.json checks another file's outputs",)


def test_golden_crops_prove_no_accuracy(read, tmp_path):
    path = tmp_path / "check.json"
    path.write_text(json_text(check()))
    found = checked.read_check(path)
    timed, accuracy = checked.join(read(INFER_LOG + LFW), found)
    assert (timed.proof, accuracy.proof) == ("proven", "not checked")
    assert "proves no accuracy" in accuracy.doubts[0]
    with pytest.raises(ImportedError, match="0 files with times"):
        checked.join(read(LFW), found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LFW.replace("std=0.0044", "std=-5"), "has -5 as accuracy_std; expected 0 to 1"),
        (LFW.replace("thd=0.28", "thd=99.28"), "has 99.28 as threshold"),
        (AIS_BENCH.replace("(J):59", "(J):-59"), "has -59.8866 as energy_j"),
        (AIS_BENCH.replace("(100/100)", "(0/0)"), "has 0 as samples of the latency"),
        (STATIC.replace("50000", "0"), "has 0 as samples of the latency"),
        ({**SUMMARY, "npu_compute_time_list": [-1.0, 4.2]}, "has -1 as samples_ms"),
        ({**SUMMARY, "NPU_compute_time": {**SUMMARY["NPU_compute_time"], "count": -5}}, "has -5 as samples"),
        ({"native": [{"path": "a", "latency": {"median_ms": -5.0}}]}, "has -5 as median_ms of the latency"),
        ({"native": [{"path": "a", "accuracy": 7.0}]}, "has 7 as accuracy"),
        ({"native": [{"path": "a", "faces_per_second": -1}]}, "has -1 as faces_per_second"),
    ],
)
def test_figures_that_no_run_can_have_are_refused(read, content, message):
    with pytest.raises(ImportedError, match=f"run.log: A row of the ledger {message}"):
        read(content)


def test_a_percentile_above_the_maximum_is_a_doubt(read):
    (row,) = read(TRTEXEC.replace("percentile(95%) = 24.494", "percentile(95%) = 94.494"))
    assert any("the p95 94.494 ms is above" in doubt for doubt in row.doubts)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("&&&& RUNNING TensorRT.trtexec # trtexec --onnx=x.onnx --fp16", "float16"),
        ("[08/31/2025-21:07:11] [I] Precision: FP32+FP16", "float16"),
        ("&&&& RUNNING TensorRT.trtexec # trtexec --onnx=x.onnx --fp16 --int8", "int8"),
        ("[INFO] load model out/tensor-force_fp16.om success", "float16"),
        ("[INFO] load model tensor-must_keep_origin_dtype.om success", "float32"),
        ("ModelPath = x.ms", None),
    ],
)
def test_a_stated_precision_that_the_log_contradicts_is_doubted(tmp_path, line, named):
    path = tmp_path / "run.log"
    path.write_text(f"{line}\n{TRTEXEC}")
    for precision in ("float32", "float16", "int8"):
        (row,) = imported.read(path, Stated(source="lab", precision=precision))
        is_doubted = any(f"precision {precision} was stated" in doubt for doubt in row.doubts)
        assert is_doubted == (named not in (None, precision))
