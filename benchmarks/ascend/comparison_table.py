"""Table of edge rows and native rows. Measured, imported and published figures have separate columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import JsonObject

_README = "README of mindspore-ai/models, research/cv/sphereface"

PUBLISHED: tuple[JsonObject, ...] = (
    {"path": "official checkpoint, file name and MindSpore Hub", "accuracy": 0.9848, "source": "MindSpore Hub"},
    {"path": "MindSpore on Ascend", "accuracy": 0.9923, "threshold": 0.305, "source": _README},
    {"path": "MindSpore on Ascend, 8 devices", "accuracy": 0.9928, "threshold": 0.294, "source": _README},
    {"path": "MindSpore on GPU", "accuracy": 0.9913, "threshold": 0.284, "source": _README},
    {"path": "inference on Ascend 310", "accuracy": 0.9922, "threshold": 0.28, "source": _README},
    {
        "path": "another network (SFace) on Atlas 200 DK, CPU",
        "latency_ms": 92.2,
        "source": "opencv_zoo, benchmark/README.md",
    },
    {
        "path": "another network (SFace) on Atlas 200 DK, CANN",
        "latency_ms": 2.66,
        "source": "opencv_zoo, benchmark/README.md",
    },
)
"""Published figures with their sources. None was measured by this project."""

MEASURED, IMPORTED, PUBLISHED_HERE = "measured here", "imported", "published"


def collect(
    edge: Sequence[JsonObject], accuracy: Sequence[JsonObject], native: Sequence[JsonObject]
) -> list[JsonObject]:
    """Combine rows in one list; each row states the origin of its figures.

    Args:
        edge: rows of :func:`benchmarks.latency.measure`; those of batch 1 are used.
        accuracy: rows of ``benchmarks accuracy``; the accuracy of a model is added to its edge rows.
        native: rows of :func:`benchmarks.ascend.native.run`.
    """
    # The original evaluation uses the landmarks of LFW's file; so do the native rows.
    known = {row["model"]: row for row in accuracy if row["landmarks"] == "given"}
    rows: list[JsonObject] = []
    for row in edge:
        if row.get("batch") != 1 or "latency" not in row:
            continue
        judged: JsonObject = known.get(row["model"], {})
        rows.append(
            {
                "path": f"edge: {row['label']}",
                "device": f"{row['provider']}, {row['threads']} threads",
                "precision": row["precision"],
                "latency": row["latency"],
                "faces_per_second": round(1000 / row["latency"]["median_ms"], 2),
                **{name: judged[name] for name in ("accuracy", "accuracy_std", "threshold") if name in judged},
                "origin": MEASURED,
                "source": "this machine",
            }
        )
    rows += [{**row, "path": f"native: {row['path']}", "origin": MEASURED, "source": "this machine"} for row in native]
    return rows + [{**row, "origin": PUBLISHED_HERE} for row in PUBLISHED]


def text(rows: Sequence[JsonObject]) -> str:
    """Format the rows as a table with one column for each origin."""
    lines = [f"{'path':<66} {'measured here':>34} {'imported':>34} {'published':>12}  source"]
    for row in rows:
        cells = dict.fromkeys((MEASURED, IMPORTED, PUBLISHED_HERE), "")
        cells[row["origin"]] = _figures(row)
        where = ", ".join(row[name] for name in ("device", "precision") if row.get(name))
        path = (row["path"] + (f" [{where}]" if where else ""))[:66]
        lines.append(
            f"{path:<66} {cells[MEASURED]:>34} {cells[IMPORTED]:>34} {cells[PUBLISHED_HERE]:>12}  {row['source']}"
        )
    return "\n".join(lines)


def _figures(row: JsonObject) -> str:
    if "error" in row:
        return "not measured"
    parts = []
    latency = row.get("latency") or {}
    value = latency.get("median_ms", latency.get("mean_ms", row.get("latency_ms")))
    if value is not None:
        parts.append(f"{value:.2f} ms")
    if row.get("faces_per_second") is not None:
        parts.append(f"{row['faces_per_second']:.0f}/s")
    if row.get("watts") is not None:
        parts.append(f"{row['watts']:.1f} W")
    if row.get("accuracy") is not None:
        parts.append(f"LFW {row['accuracy']:.2%}")
    return ", ".join(parts)
