"""Records that tests of several packages share."""

from dataclasses import replace

from edge_sphereface.device import report as device
from edge_sphereface.evaluation.condition import DeviceCondition
from edge_sphereface.evaluation.machine_load import MachineLoad
from edge_sphereface.evaluation.timing import LatencySummary
from edge_sphereface.model.spec import ModelSpec

SPEC = ModelSpec(
    architecture="SphereFace-20",
    widths=(64, 128, 256, 512),
    embedding_size=512,
    input_height=112,
    input_width=96,
    input_layout="nchw",
    color_order="BGR",
    pixel_mean=127.5,
    pixel_scale=0.0078125,
    landmark_template=((30.0, 51.0), (65.0, 51.0), (48.0, 71.0), (33.0, 92.0), (62.0, 92.0)),
    alignment_fit="cp2tform",
    precision="float32",
    threshold=0.3,
    threshold_source="test",
    source_file="x.ckpt",
    source_sha256="0" * 64,
    source_is_official=False,
    exporter_version="0",
)
"""The specification of the original network."""


def measured_board():
    """A report of a board that was measured, which got hot in the sustained run."""
    latency = LatencySummary(samples=100, min_ms=19.0, median_ms=20.5, p95_ms=24.0, p99_ms=25.0)
    int8 = device.TimedForm(
        form="int8 (22222222)", precision="int8", threads=4, pinned_threads=False, memory_arena=False, median_ms=20.5,
        latency=latency,
    )  # fmt: skip
    plain = replace(int8, form="float32 (00000000)", precision="float32", median_ms=41.0)
    cool = DeviceCondition(
        temperature_c=48.0, hottest_zone="cpu-thermal", clock_mhz=2400.0, gpu_clock_mhz=None, throttled=()
    )
    hot = replace(cool, temperature_c=85.2, clock_mhz=1500.0, throttled=("frequency capped now",))
    windows = tuple(
        device.Window(end_s=5.0 * place, inferences=200, rate=rate, median_ms=1000 / rate, condition=condition)
        for place, rate, condition in ((1, 48.0, cool), (2, 40.0, cool), (3, 24.0, hot))
    )
    provider = device.DeviceProvider(
        requested="auto", active=("CPUExecutionProvider",), nodes={"CPUExecutionProvider": 60}, threads=4,
        onnxruntime="1.32.0",
    )  # fmt: skip
    model = device.VerifiedModel(
        form="float32 (00000000)", sha256="0" * 64, bytes=90_000_000, architecture="SphereFace-20",
        precision="float32", rewrites=(), source_sha256="1" * 64, certified=True, max_abs_error=1e-6, min_cosine=1.0,
        provider=provider, reason="", warning="",
    )  # fmt: skip
    return device.DeviceReport(
        complete=True,
        stopped="",
        quick=False,
        environment=device.DeviceEnvironment(
            time="2026-11-27T03:00:00+00:00", cpu="Raspberry Pi 5 Model B Rev 1.0", processor="aarch64",
            generation={"CPU_part": "0xd0b"}, cpu_flags=("asimddp",), usable_cpus=4, governor="ondemand",
            memory_mib=8052, system="Linux-6.6.31-aarch64", versions={"onnxruntime": "1.32.0"},
            providers=("CPUExecutionProvider",), accelerators=(),
        ),
        findings=(device.DeviceFinding(check="cache", status="warn", message="it is in a temporary folder"),),
        models=(model, replace(model, form="int8 (22222222)", precision="int8", certified=None)),
        tuning=device.DeviceTuning(source="measured", best=int8, tie=False, rows=(int8, plain)),
        int8_over_float=device.Int8OverFloat(
            int8=int8, float32=plain, ratio=0.5, low=0.49, high=0.51, rounds=20, verdict="faster"
        ),
        detectors=(
            device.TimedDetector(
                name="yunet", is_auto=True, image="frame without a face", width=640, height=480, faces=0,
                latency=latency,
            ),
        ),
        sustained=device.SustainedRun(
            form="int8 (22222222)", precision="int8", threads=4, pinned_threads=False, planned_s=15.0, rss_mib=109.0,
            before=cool, windows=windows,
        ),
        peak_rss_mib=360.0,
        load=MachineLoad(other_processors=0.1, average=0.5, processors=4),
        missing=(device.MissingPart(part="detector mtcnn", reason="it is not installed"),),
    )  # fmt: skip
