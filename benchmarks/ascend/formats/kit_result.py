"""The result that a proof kit's program writes on a device (:class:`edge_sphereface.kit.result.KitResult`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import ImportedError
from benchmarks.ascend.row import IMPORTED, Evidence, LedgerRow, PartialLatency
from edge_sphereface.errors import KitError
from edge_sphereface.kit.manifest import MANIFEST
from edge_sphereface.kit.result import KIND, KitResult

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording
    from edge_sphereface.types import JsonObject


def read(values: JsonObject, recording: Recording) -> list[LedgerRow]:
    """Read the row of one runtime on one device.

    Raises:
        ImportedError: it is not a result that this version can read, or nothing was timed.
    """
    if values.get("kind") != KIND:
        return []
    try:
        result = KitResult.from_values(values, name=f"The kit's result {recording.name}")
    except KitError as error:
        raise ImportedError(error.message, hint=error.hint) from error
    times = result.latency_ms
    if times is None:
        raise ImportedError(f"{recording.name} holds no latency: nothing was timed.", hint="run it with rounds")
    batch, doubts = recording.batch(result.batch)
    device, about_device = recording.device(result.device)
    stated = recording.stated
    differs = stated.precision is not None and stated.precision != result.precision
    words = f"precision {stated.precision} was stated, and the run says {result.precision}"
    return [
        LedgerRow(
            path=f"kit: {result.runtime} {result.runtime_version}, form {result.form}",
            device=device,
            precision=result.precision,
            batch=batch,
            includes=result.includes,
            latency=PartialLatency(
                samples=result.rounds,
                min_ms=times.min,
                mean_ms=times.mean,
                median_ms=times.median,
                p95_ms=times.p95,
                p99_ms=times.p99,
                max_ms=times.max,
            ),
            faces_per_second=round(1000 * result.batch / times.median, 2),
            machine=result.machine,
            origin=IMPORTED,
            source=stated.source,
            doubts=(*doubts, *about_device, *([words] if differs else [])),
            kit=Evidence(name=MANIFEST, sha256=result.manifest_sha256),
        )
    ]
