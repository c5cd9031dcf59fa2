"""Entry point of ``python -m benchmarks``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import commands
from benchmarks.alignment import add_command as add_alignment
from benchmarks.arm64.commands import add_command as add_arm64
from benchmarks.ascend.commands import add_command as add_ascend
from benchmarks.cameras.commands import add_command as add_cameras
from benchmarks.day.commands import add_command as add_day
from benchmarks.detection.commands import add_command as add_detection
from benchmarks.emulation.commands import add_command as add_emulate
from benchmarks.enrollment.commands import add_commands as add_enrollment
from benchmarks.gallery.commands import add_commands as add_gallery
from benchmarks.half_precision import add_command as add_half_precision
from benchmarks.http.commands import add_command as add_http
from benchmarks.memory.commands import add_command as add_memory
from benchmarks.operators import add_command as add_operators
from benchmarks.pipeline.commands import add_command as add_pipeline
from benchmarks.quantization.commands import add_command as add_quantization
from benchmarks.strangers.commands import add_command as add_strangers
from benchmarks.stream.commands import add_command as add_stream
from benchmarks.tuning.commands import add_command as add_tuning
from edge_sphereface.cli.arguments import (
    above_zero,
    between,
    count,
    detector_options,
    json_option,
    pairs_options,
    positive,
    thread_count,
)
from edge_sphereface.cli.runner import Parser, run
from edge_sphereface.detection import DETECTOR_NAMES

if TYPE_CHECKING:
    from edge_sphereface.cli.runner import Commands


def build_parser() -> Parser:
    """Build the parser of all commands."""
    parser = Parser(
        prog="python -m benchmarks",
        description="Measure SphereFace on this machine.",
        epilog="Each command has --help with an example, and --json for machines.",
    )
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_latency(added)
    _add_accuracy(added)
    add_alignment(added)
    add_detection(added)
    add_pipeline(added)
    add_quantization(added)
    add_half_precision(added)
    add_tuning(added)
    add_operators(added)
    add_memory(added)
    add_http(added)
    _add_rhythm(added)
    add_gallery(added)
    add_enrollment(added)
    add_stream(added)
    add_strangers(added)
    add_cameras(added)
    add_day(added)
    add_emulate(added)
    add_arm64(added)
    add_ascend(added)
    _add_plan(added)
    _add_report(added)
    return parser


def _add_latency(added: Commands) -> None:
    command = added.add_parser(
        "latency",
        parents=[json_option()],
        help="measure the latency of models, peers and stages, interleaved, each in a separate process",
        description="Measure the latency and memory of models, of other runtimes and of single stages. Contenders "
        "take turns within one run, each in a separate process; ratios have a confidence interval.",
        epilog="example: python -m benchmarks latency float.onnx tuned.onnx int8.onnx fp16.onnx --peers all "
        "--calibration photos -o latency.json",
    )
    command.add_argument(
        "model",
        nargs="+",
        type=Path,
        help="forms of one network: plain float first, which is the reference, then tuned, FP16, INT8, for ncnn",
    )
    command.add_argument(
        "--threads", nargs="+", type=thread_count, metavar="N", help="default: 1 to all usable processors"
    )
    command.add_argument("--batches", nargs="+", type=positive, default=[1, 4, 16], metavar="N", help="default: 1 4 16")
    command.add_argument("--rounds", type=positive, default=100, metavar="N", help="samples of each case (default 100)")
    command.add_argument(
        "--starts",
        type=positive,
        default=5,
        metavar="N",
        help="starts of each process, also of the stages (default 5); `compare` needs 3",
    )
    command.add_argument(
        "--peers",
        nargs="+",
        choices=(*commands.PEERS, "all"),
        default=[],
        help="other runtimes, each installed in a virtual environment in build/peers on first use; edge_tuned and "
        "edge_pinned run every form with those settings of the session",
    )
    command.add_argument(
        "--calibration",
        type=Path,
        metavar="FOLDER",
        help="photographs: also measure INT8 by onnxruntime's quantize_static and by NNCF, made from the first model",
    )
    command.add_argument(
        "--folder",
        type=Path,
        default=commands.FOLDER,
        help=f"folder for the files of --calibration (default {commands.FOLDER})",
    )
    command.add_argument("--checkpoint", type=Path, metavar="FILE", help="checkpoint for MindSpore")
    command.add_argument("--no-stages", action="store_true", help="measure only the embedding")
    command.add_argument(
        "--photo", type=Path, metavar="FILE", help="photograph for the stages (default: the built-in one)"
    )
    command.add_argument(
        "--video", type=Path, metavar="FILE", help="video for the stages (default: the moving photograph)"
    )
    command.add_argument(
        "--detector-model", type=Path, metavar="FILE", help="YuNet's ONNX file (default: in the cache)"
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    command.set_defaults(run=commands.run_latency)
    command = added.add_parser(
        "todays-int8",
        parents=[json_option()],
        help="make an INT8 model by onnxruntime's quantize_static, as a contender",
        description="Quantize a model as users commonly do, with onnxruntime's quantize_static and its defaults, for "
        "comparison.",
        epilog="example: python -m benchmarks todays-int8 float.onnx --photos photos -o habit.onnx",
    )
    command.add_argument("model", type=Path, help="float ONNX file with layout nchw")
    command.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="photographs for the calibration")
    command.add_argument("--count", type=positive, default=200, metavar="N", help="number of crops (default 200)")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    command.set_defaults(run=commands.run_int8)
    command = added.add_parser(
        "sessions",
        parents=[json_option()],
        help="compare session settings: latency with and without pauses, processor time, memory",
        description="Run every model with the default settings, spinning threads, a memory arena and pinned threads, "
        "on the CPU, in turn, each in a separate process.",
        epilog="example: python -m benchmarks sessions float.onnx int8.onnx -o sessions.json",
    )
    command.add_argument("model", nargs="+", type=Path, help="ONNX file")
    command.add_argument(
        "--threads", nargs="+", type=thread_count, metavar="N", help="default: 1 to all usable processors"
    )
    command.add_argument("--rounds", type=positive, default=40, metavar="N", help="samples per start (default 40)")
    command.add_argument("--starts", type=positive, default=5, metavar="N", help="starts of each setting (default 5)")
    command.add_argument(
        "--pause-ms", type=float, default=50, metavar="MS", help="pause between inferences, as on a camera (default 50)"
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    command.set_defaults(run=commands.run_sessions)


def _add_rhythm(added: Commands) -> None:
    command = added.add_parser(
        "rhythm",
        parents=[json_option()],
        help="measure latency and processor time in the rhythm of a camera, caches warm and cold, beside peers",
        description="Embed faces at fixed rates with pauses in between, with warm caches, and with caches that each "
        "pause fills with other data. Contenders take turns, each in a separate process.",
        epilog="example: python -m benchmarks rhythm float.onnx int8.onnx --peers onnxruntime_plain ncnn openvino "
        "opencv_dnn -o rhythm.json",
    )
    command.add_argument("model", nargs="+", type=Path, help="ONNX file; the first one is plain float")
    command.add_argument(
        "--threads", nargs="+", type=thread_count, metavar="N", help="default: 1 to all usable processors"
    )
    command.add_argument(
        "--rates",
        nargs="+",
        type=between(0.1, 1000),
        default=[5, 15, 30],
        metavar="N",
        help="faces a second, 0.1 to 1000 (default 5 15 30)",
    )
    command.add_argument("--faces", type=positive, default=40, metavar="N", help="samples of each row (default 40)")
    command.add_argument(
        "--peers",
        nargs="+",
        choices=[name for name in commands.PEERS if name != "mindspore_cpu"],
        default=[],
        help="other runtimes, as of latency",
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    command.set_defaults(run=commands.run_rhythm)


def _add_accuracy(added: Commands) -> None:
    command = added.add_parser(
        "accuracy",
        parents=[json_option(), detector_options(), pairs_options()],
        help="measure 10-fold accuracy, TAR@FAR and EER with intervals; compare models with the first",
        description="Embed the photographs of labeled pairs and evaluate the scores by the original's protocol. "
        "Also print the 10-fold accuracy by each protocol that published figures use: one crop; crop and mirror image, "
        "their sum or both in a row; each as it is and with the mean subtracted. With --lfw, list the published "
        "networks and their claims. Embeddings are cached (mode 0600), so that an interrupted run can continue.",
        epilog="example: python -m benchmarks accuracy float.onnx int8.onnx --lfw lfw -o accuracy.json",
    )
    command.add_argument("model", nargs="+", type=Path, help="ONNX file; the first one is the reference")
    command.add_argument("--detect", action="store_true", help="detect landmarks instead of using those of LFW's file")
    command.add_argument("--flip", action="store_true", help="average each embedding with that of the mirrored crop")
    command.add_argument("--no-cache", action="store_true", help="do not store embeddings on disk")
    command.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    command.set_defaults(run=commands.run_accuracy)


def _add_plan(added: Commands) -> None:
    command = added.add_parser(
        "plan",
        parents=[json_option()],
        help="plan for a camera: how often to detect, number of threads, batch size",
        description="The work on a frame is that of `watch` if it embeds every face, computed from the stages of one "
        "model and one detector. The exit code is 1 if no plan meets the budget.",
        epilog="example: python -m benchmarks plan latency.json --fps 15 --faces 3 --budget-ms 60",
    )
    command.add_argument("result", nargs="?", type=Path, help="result of `latency` with stages")
    command.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="with a result: name of the model to plan for, if the result has several; without: model to measure now",
    )
    command.add_argument(
        "--detector",
        choices=DETECTOR_NAMES,
        default="auto",
        help="detector whose stages are used (default auto: the default detector on the machine of the measurement)",
    )
    command.add_argument(
        "--detector-model", type=Path, metavar="FILE", help="YuNet's ONNX file (default: in the cache)"
    )
    command.add_argument("--fps", type=above_zero, required=True, help="frames per second of the camera")
    command.add_argument("--faces", type=count, required=True, help="faces in a frame")
    command.add_argument(
        "--budget-ms", type=above_zero, required=True, metavar="MS", help="largest average work per frame"
    )
    command.add_argument("--rounds", type=positive, default=50, metavar="N", help="samples (default 50)")
    command.set_defaults(run=commands.run_plan)


def _add_report(added: Commands) -> None:
    command = added.add_parser(
        "report",
        parents=[json_option()],
        help="write results as Markdown and plots",
        description="Write a report of recorded results: a Markdown page with tables, plots and the machine. Its first "
        "chart compares the fastest form of this project with the fastest of each runtime, by precision.",
        epilog="example: python -m benchmarks report latency.json tuning.json quantization.json -o report",
    )
    command.add_argument(
        "result", nargs="+", type=Path, help="results of one machine, and of `report-device` on any machines"
    )
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    command.add_argument("--title", default="SphereFace on this machine", help="title of the report")
    command.add_argument("--remark", default="", metavar="TEXT", help="notes on the models and the run")
    command.set_defaults(run=commands.run_report)
    command = added.add_parser(
        "compare",
        parents=[json_option()],
        help="find cases that became significantly slower; the exit code is 1 if there are any",
        description="Compare two recorded results of one machine, and list the cases that became significantly "
        "slower. The exit code is 1 if there are any.",
        epilog="example: python -m benchmarks compare old.json new.json",
    )
    command.add_argument("old", type=Path, help="old result of `latency`")
    command.add_argument("new", type=Path, help="new result of `latency`")
    command.set_defaults(run=commands.run_compare, is_check=True)


if __name__ == "__main__":
    sys.exit(run(build_parser()))
