"""The result that the kit's program writes on a device. It holds nothing that identifies the device or its owner."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from edge_sphereface.errors import KitError
from edge_sphereface.kit.manifest import KitPath, Precision
from edge_sphereface.storage.files import sha256_of
from edge_sphereface.storage.record import Above, Between, Length, Pattern, Record, Sha256
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_sphereface.types import JsonObject

KIND: Final = "edge_sphereface.kit_result"
SCHEMA_VERSION: Final = 1
RESULT = "result.json"

Includes: TypeAlias = Literal["compute", "compute and copies", "whole call"]
"""What a latency covers: the device's computation; that and copying input and output; the runtime's whole call."""

_HINT = "run the kit's program on the device again"
_FILE = RegularFile(what="kit result", limit=1 << 16, error=KitError, hint=_HINT)
_OUTPUTS_FILE = RegularFile(what="file of outputs", limit=1 << 30, error=KitError, hint=_HINT)
_START = 64
_Words = Annotated[str, Length(200, 1)]
_Milliseconds = Annotated[float, Above(0), Between(0, 1e9)]


class _Part(Record):
    """Base of the records in a result."""

    __slots__ = ()
    record_name = "The kit's result"
    record_error = KitError
    record_hint = _HINT
    record_bytes = _FILE.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class KitLatency(_Part):
    """Latency of one call with a batch, in milliseconds.

    Attributes:
        min: minimum.
        mean: mean.
        median: median.
        p95: 95th percentile.
        p99: 99th percentile.
        max: maximum.
    """

    min: _Milliseconds
    mean: _Milliseconds
    median: _Milliseconds
    p95: _Milliseconds
    p99: _Milliseconds
    max: _Milliseconds

    def _faults(self) -> Iterator[str]:
        ordered = (self.min, self.median, self.p95, self.p99, self.max)
        if sorted(ordered) != list(ordered) or not self.min <= self.mean <= self.max:
            yield "latency must ascend from min over median, p95 and p99 to max, with the mean between"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitResult(_Part):
    """What one runtime computed on a device, and how long it took.

    Attributes:
        kind: identifies the file as the result of a kit.
        schema_version: version of this record.
        manifest_sha256: SHA-256 of the kit's manifest in hexadecimal.
        form: name of the kit's form that the device ran, converted or not.
        runtime: name of the runtime, such as ``onnxruntime``.
        runtime_version: its version.
        device: device in words, such as ``Ascend 310P3`` or ``CPUExecutionProvider``.
        precision: precision in which the device computed, as the runtime or its user says; it may differ from the
            form's.
        batch: number of crops in each call.
        rounds: number of measured calls; 0 if none was timed.
        latency_ms: latency of a call; None if none was timed.
        includes: what the latency covers.
        outputs: path of the raw outputs, ``.npy`` (N, D), relative to this file.
        outputs_sha256: SHA-256 of that file in hexadecimal.
        machine: processor and system in words, without host name and serial number.
        started_at: start of the run in UTC, such as ``2026-11-27T02:50:00Z``.
    """

    kind: Literal["edge_sphereface.kit_result"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    manifest_sha256: Sha256
    form: _Words
    runtime: _Words
    runtime_version: _Words
    device: _Words
    precision: Precision
    batch: Annotated[int, Between(1, 65536)]
    rounds: Annotated[int, Between(0, 10_000_000)]
    latency_ms: KitLatency | None
    includes: Includes
    outputs: KitPath
    outputs_sha256: Sha256
    machine: _Words
    started_at: Annotated[str, Pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z", "of a time in UTC with Z")]

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        cls._require_kind(values, KIND, SCHEMA_VERSION)
        return values

    def _faults(self) -> Iterator[str]:
        if (self.rounds > 0) != (self.latency_ms is not None):
            yield "latency_ms must be given exactly if rounds were measured"


def read_kit_result(path: Path) -> tuple[KitResult, str]:
    """Read the result of a kit.

    Returns:
        The result, and the SHA-256 of its file in hexadecimal.

    Raises:
        KitError: the file is not a result that this version can read.
    """
    with _OUTPUTS_FILE.open(path) as stream:
        start = stream.read(_START).lstrip()
    if start.startswith(b"["):  # as trtexec exports outputs
        raise KitError(
            f"Expected the result of the kit's program in {path}, got a list.",
            hint="outputs themselves are taken as .npy, .bin, .txt, .csv or .jsonl: write the list's values as one of "
            "them; the kit's script for TensorRT does it for trtexec's",
        )
    content = _FILE.read(path)
    return KitResult.from_json(content, name=f"The kit's result {path}"), hashlib.sha256(content).hexdigest()


def read_checked_result(path: Path, *, manifest_sha256: str) -> tuple[KitResult, str]:
    """Read the result of a kit, and require that it is of this kit and that its outputs are unchanged.

    Args:
        path: path of the result; its outputs lie relative to it.
        manifest_sha256: SHA-256 of the kit's manifest in hexadecimal.

    Returns:
        The result, and the SHA-256 of its file in hexadecimal.

    Raises:
        KitError: the file is not a result, belongs to another kit, or its outputs are missing or were changed.
    """
    result, digest = read_kit_result(path)
    if result.manifest_sha256 != manifest_sha256:
        raise KitError(
            f"{path} is the result of another kit: its manifest has SHA-256 {result.manifest_sha256[:16]}…, this kit's "
            f"{manifest_sha256[:16]}….",
            hint="name the kit that was on the device",
        )
    outputs = path.parent / result.outputs
    _OUTPUTS_FILE.require(outputs)
    if sha256_of(outputs) != result.outputs_sha256:
        raise KitError(f"{outputs} is not the file that {path} was written with.", hint=_HINT)
    return result, digest
