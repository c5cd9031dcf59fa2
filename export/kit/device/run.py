#!/usr/bin/env python3
"""Runs the golden crops of this kit on a device, compares the outputs with the expected ones, and times the network.

Needs Python 3.8 or newer, numpy, and one of the runtimes that ``run.py --list`` names (``runtimes.py``); nothing of
edge_sphereface.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import shlex
import sys
import time
from datetime import datetime, timezone
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile, mkstemp
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type

try:
    import numpy as np
except ImportError:
    print("error: numpy is missing: pip install numpy", file=sys.stderr)
    sys.exit(2)  # 1 would say that outputs are wrong

from kit import PRECISIONS, Kit, StopError, is_inside
from runtimes import RUNTIMES, OnnxRuntime, Runtime, Setup

KIT = Path(__file__).resolve().parent
RESULT_KIND, RESULT_VERSION = "edge_sphereface.kit_result", 1
PASSED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
UNIT = 1e-3
"""Largest difference of a length from 1 in outputs that something normalized."""


def main(words: Optional[Sequence[str]] = None) -> int:
    """Run, compare, and write the result; returns the exit code."""
    arguments = _parser().parse_args(words)
    try:
        if arguments.list:
            print(_runtimes_text())
            return PASSED
        kit = Kit(arguments.kit)
        if arguments.outputs is not None:
            return _compare_file(kit, arguments)
        return _run(kit, arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (StopError, OSError) as reason:
        print(f"error: {_printable(str(reason))}", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 -- Python's exit code 1 would say that outputs are wrong
        print(f"error: {_printable(_one_line(error))}", file=sys.stderr)
    return USAGE


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _printable(text: str) -> str:
    """A text that may hold words of the manifest, without control characters."""
    return "".join(sign if sign == "\n" or sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _count(word: str) -> int:
    number = int(word)
    if number < 0:
        raise ValueError(word)
    return number


_count.__name__ = "number from 0 on"  # argparse names it in its message


def _option(word: str) -> Tuple[str, str]:
    key, sign, value = word.partition("=")
    if not (key and sign):
        raise ValueError(word)
    return key, value


_option.__name__ = "option KEY=VALUE"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run the golden crops of this kit on this device, compare the outputs, and time the network. The "
        "exit code is 0 if the outputs are right, 1 if they are wrong, 2 if nothing could be run, 130 after Ctrl-C.",
        epilog="example: python3 run.py; python3 run.py --runtime acl --model out/tensor-force_fp16.om",
    )
    names = [runtime.name for runtime in RUNTIMES]
    parser.add_argument("--list", action="store_true", help="list the runtimes, and what is missing for each")
    parser.add_argument("--kit", type=Path, default=KIT, help="folder of the kit (default: that of this program)")
    parser.add_argument("--runtime", choices=names, help="default: the first one here that has a model")
    parser.add_argument("--model", type=Path, help="converted model (default: the only one of its kind in out/)")
    parser.add_argument("--form", help="form of the kit that runs or was converted (default: the plain float form)")
    parser.add_argument("--precision", choices=PRECISIONS, help="in which the device computes, for the bounds")
    parser.add_argument("--target", default="", help="device or execution provider, such as CUDAExecutionProvider, cpu")
    parser.add_argument(
        "--provider-option",
        type=_option,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of onnxruntime's execution provider, such as trt_fp16_enable=1; give it again for more",
    )
    parser.add_argument("--device-id", type=_count, default=0, help="number of the device (default 0)")
    parser.add_argument("--rounds", type=_count, default=100, help="timed calls, 0 for none (default 100)")
    parser.add_argument("--warm-up", type=_count, default=10, help="calls before those (default 10)")
    parser.add_argument("--outputs", type=Path, help="compare this .npy file instead: (N, D), one row for each crop")
    parser.add_argument("-o", "--output", type=Path, help="folder of outputs.npy and result.json (default out/RUNTIME)")
    return parser


def _run(kit: Kit, arguments: argparse.Namespace) -> int:
    kind = _choose(kit, arguments)
    folder = arguments.output or arguments.kit / "out" / kind.name
    _check_output(kit, folder)
    form = kit.form(arguments.form, kind.suffixes)
    model = _model(kit, kind, form, arguments.model)
    named = next((precision for precision in PRECISIONS if precision in model.stem), None)  # as targets/ name them
    usual = form["precision"] if kind.precision == "float32" else named or kind.precision
    precision = arguments.precision or usual
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime 1.29 and later send usage data
    try:
        library = import_module(kind.module)
    except (ImportError, OSError) as error:
        raise StopError(f"{kind.name} is installed, and cannot be imported: {error}") from error
    started = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"{kind.name} {_version(kind, library)}, {model.name}")
    options = dict(arguments.provider_option)
    if options and kind is not OnnxRuntime:
        raise StopError(f"--provider-option is for onnxruntime, not for {kind.name}")
    _make_folder(folder)
    setup = Setup(model, kit.crop, arguments.target, arguments.device_id, options)
    device, outputs, samples = _measure(kit, kind, library, setup, (arguments.rounds, arguments.warm_up))
    latency = _latency(samples) if samples else None
    content = io.BytesIO()
    np.save(content, outputs)
    _write(folder / "outputs.npy", content.getvalue())
    result = {
        "kind": RESULT_KIND,
        "schema_version": RESULT_VERSION,
        "manifest_sha256": kit.sha256,
        "form": form["name"],
        "runtime": kind.name,
        "runtime_version": _version(kind, library),
        "device": device[:200] or "unknown",
        "precision": precision,
        "batch": 1,
        "rounds": len(samples),
        "latency_ms": latency,
        "includes": kind.includes,
        "outputs": "outputs.npy",
        "outputs_sha256": hashlib.sha256(content.getvalue()).hexdigest(),
        "machine": _machine(),
        "started_at": started,
    }
    _write(folder / "result.json", f"{json.dumps(result, indent=1)}\n".encode())
    if latency is not None:
        print(
            f"{latency['median']:.3f} ms median, {latency['p95']:.3f} ms at the 95th percentile, of {len(samples)} "
            f"calls with one crop; the time includes: {kind.includes}"
        )
    said = "" if arguments.precision else " (assumed; --precision says another)"
    print(f"on {device}, compared as {precision}{said}")
    passed = _compare(kit, outputs, form, precision)
    print(f"written: {folder / 'outputs.npy'}, {folder / 'result.json'}")
    _tell_full_check(arguments.kit, folder / "result.json")
    return PASSED if passed else FAILED


def _measure(
    kit: Kit, kind: Type[Runtime], library: Any, setup: Setup, calls: Tuple[int, int]
) -> Tuple[str, Any, List[float]]:
    """The device, the outputs of all crops, and the times of ``calls``: timed ones, and calls before those."""
    try:
        runtime = kind(library, setup)
        try:
            crops = kit.inputs(runtime.layout, runtime.dtype)
            outputs = np.stack([_output(runtime, crop) for crop in crops])
            return runtime.device, outputs, _time(runtime, crops[0], *calls)
        finally:
            runtime.close()
    except StopError:
        raise
    except Exception as error:  # the errors of vendors share no class
        raise StopError(f"{kind.name} failed: {_one_line(error)}") from error


def _compare_file(kit: Kit, arguments: argparse.Namespace) -> int:
    form = kit.form(arguments.form, (".onnx",))
    precision = arguments.precision or form["precision"]
    if not arguments.outputs.is_file():
        raise StopError(f"there is no regular file {arguments.outputs}")
    try:
        outputs = np.load(str(arguments.outputs), mmap_mode="r")  # takes no memory for what is not there
    except (OSError, ValueError, EOFError) as error:  # numpy's words advise to unpickle what it cannot read
        raise StopError(f"{arguments.outputs} is not a whole array as numpy.save writes it (.npy)") from error
    if getattr(outputs, "dtype", np.dtype(object)).kind != "f":
        raise StopError(f"expected floating-point numbers in {arguments.outputs}")
    passed = _compare(
        kit, outputs.reshape(len(outputs), -1) if outputs.size and outputs.ndim else outputs, form, precision
    )
    _tell_full_check(arguments.kit, arguments.outputs, "--form", form["name"], "--precision", precision)
    return PASSED if passed else FAILED


def _tell_full_check(*words: Any) -> None:
    quoted = " ".join(shlex.quote(str(word)) for word in words)
    print(f"full check, where edge_sphereface is installed: edge-sphereface check-outputs {_printable(quoted)}")


def _choose(kit: Kit, arguments: argparse.Namespace) -> Type[Runtime]:
    """The runtime that was named, or the first one here that has a model."""
    if arguments.runtime is not None:
        kind = next(kind for kind in RUNTIMES if kind.name == arguments.runtime)
        if not _is_installed(kind):
            raise StopError(f"{kind.name} is not installed in this Python: {kind.install}")
        return kind
    here = [kind for kind in RUNTIMES if _is_installed(kind)]
    if not here:
        listed = _runtimes_text()
        raise StopError(
            f"no runtime was found in this Python.\n{listed}\nTo compare outputs of another tool: --outputs"
        )
    for kind in here:
        if arguments.model is not None:
            if arguments.model.suffix in kind.suffixes:
                return kind
        elif kind is OnnxRuntime and kind is not here[0]:  # the CPU's result is not taken for an accelerator's
            break
        elif kind is OnnxRuntime or _converted(kit, kind):
            return kind
    needed = "; ".join(
        f"{kind.name} takes {' or '.join(kind.suffixes)}: {kind.install}"
        for kind in here
        if arguments.model is not None or kind is not OnnxRuntime
    )
    on_cpu = "; --runtime onnxruntime computes on the CPU" if OnnxRuntime in here and arguments.model is None else ""
    raise StopError(f"no model for the runtimes that are here. {needed}. Name it with --model{on_cpu}")


def _model(kit: Kit, kind: Type[Runtime], form: Dict[str, Any], named: Optional[Path]) -> Path:
    if named is not None:
        if named.suffix not in kind.suffixes:
            raise StopError(f"{kind.name} takes {' or '.join(kind.suffixes)}, not {named.name}")
        if not named.is_file():
            raise StopError(f"there is no file {named}")
        return named
    if kind is OnnxRuntime:
        return kit.path(form["file"])
    found = _converted(kit, kind)
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise StopError(f"expected one model {' or '.join(kind.suffixes)} in out/, got {listed}: name it with --model")
    return found[0]


def _converted(kit: Kit, kind: Type[Runtime]) -> List[Path]:
    folders = {kit.folder / "out", Path("out").resolve()}
    return sorted(path for folder in folders for path in folder.glob("*") if path.suffix in kind.suffixes)


def _runtimes_text() -> str:
    lines = []
    for kind in RUNTIMES:
        state = "here" if _is_installed(kind) else "missing"
        lines.append(f"{kind.name:<15} {state:<8} takes {', '.join(kind.suffixes)}; {kind.install}")
    return "\n".join(lines)


def _is_installed(kind: Type[Runtime]) -> bool:
    try:
        return find_spec(kind.module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _output(runtime: Runtime, crop: Any) -> Any:
    runtime.prepare(crop)
    runtime.compute()
    return np.array(runtime.output(), dtype=np.float32).reshape(-1)


def _time(runtime: Runtime, crop: Any, rounds: int, warm_up: int) -> List[float]:
    """Milliseconds of each call with one crop."""
    runtime.prepare(crop)
    samples = []
    for number in range(-warm_up if rounds > 0 else 0, rounds):
        start = time.perf_counter_ns()
        runtime.compute()
        elapsed = time.perf_counter_ns() - start
        if number >= 0:
            samples.append(elapsed / 1e6)
    return samples


def _latency(samples: Sequence[float]) -> Dict[str, float]:
    low, median, p95, p99, high = (round(float(value), 6) for value in np.percentile(samples, [0, 50, 95, 99, 100]))
    mean = min(max(round(float(np.mean(samples)), 6), low), high)
    return {"min": low, "mean": mean, "median": median, "p95": p95, "p99": p99, "max": high}


def _compare(kit: Kit, outputs: Any, form: Dict[str, Any], precision: str) -> bool:
    """Say whether outputs are those of the network, as numpy alone can tell."""
    expected, bounds = kit.expected(form, precision)
    if outputs.shape != expected.shape:
        print(f"FAILED: expected outputs of shape {expected.shape}, got {outputs.shape}")
        return False
    got, expected = outputs.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(got, axis=1)
    if not np.isfinite(got).all() or (lengths == 0).any():
        print("FAILED: an output is not finite, or zero")
        return False
    wanted = np.linalg.norm(expected, axis=1)
    cosine = float(((got * expected).sum(axis=1) / (lengths * wanted)).min())
    error = float(np.abs(got - expected).max() / np.abs(expected).max())
    is_unit = bool((np.abs(lengths - 1) < UNIT).all() and not (np.abs(wanted - 1) < UNIT).all())
    passed = cosine >= bounds["min_cosine"] and (is_unit or error <= bounds["max_abs_error"])
    print(
        f"{'PASSED' if passed else 'FAILED'}: cosine at least {cosine:.6f} (bound {bounds['min_cosine']:g}); "
        + (
            "the outputs have length 1, so only directions are compared"
            if is_unit
            else f"error at most {error:.2e} of the largest component (bound {bounds['max_abs_error']:g})"
        )
    )
    if not passed:
        print("the full check names the usual mistakes, such as swapped colors or pixels that are normalized twice")
    return passed


def _version(kind: Type[Runtime], library: Any) -> str:
    found = getattr(library, "__version__", None)
    names = {"ais_bench": "ais_bench", "rknnlite": "rknn-toolkit-lite2", "hailo_platform": "hailort"}
    if found is None:
        try:
            found = metadata.version(names.get(kind.name, kind.name))
        except metadata.PackageNotFoundError:
            return "unknown"
    return str(found)[:200] or "unknown"


def _machine() -> str:
    """Board or processor and system; never the name of the host."""
    board = ""
    for name, key in (("/proc/device-tree/model", ""), ("/proc/cpuinfo", "model name")):
        try:
            with open(name, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123 -- a file of the system
                text = stream.read(1 << 16)
        except OSError:
            continue
        lines = [line.partition(":")[2] for line in text.splitlines() if line.startswith(key)] if key else [text]
        board = lines[0].strip("\0\n ") if lines else ""
        if board:
            break
    return f"{board or 'unknown processor'}, {platform.machine()}, {platform.system()} {platform.release()}"[:200]


def _check_output(kit: Kit, folder: Path) -> None:
    """Before anything is computed: files of the kit are not replaced."""
    place = folder.resolve()
    if place == kit.folder.resolve() or (is_inside(place, kit.folder) and not is_inside(place, kit.folder / "out")):
        raise StopError(f"{folder} is a part of the kit: name a folder in {kit.folder / 'out'}, or outside of the kit")
    if folder.exists() and not folder.is_dir():
        raise StopError(f"{folder} is not a folder")


def _make_folder(folder: Path) -> None:
    """Make a folder, and those above it, that only this user may read: outputs are biometric data."""
    try:
        for place in reversed([folder, *folder.parents]):
            if not place.exists():
                place.mkdir(mode=0o700, exist_ok=True)  # another run may make it at the same time
        with TemporaryFile(dir=str(folder)):
            pass
    except OSError as error:
        raise StopError(f"nothing can be written into {folder}: {error}; name another folder with -o") from error


def _write(path: Path, content: bytes) -> None:
    """Write a file that appears when it is complete, and that only this user may read.

    Two runs that write the same file do not mix their bytes: the later file stays.
    """
    descriptor, name = mkstemp(prefix=f".{path.name}.", dir=str(path.parent))
    part = Path(name)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 -- of a descriptor
            stream.write(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StopError(f"{path} cannot be written: {error}") from error
    except BaseException:  # also Ctrl-C
        part.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
