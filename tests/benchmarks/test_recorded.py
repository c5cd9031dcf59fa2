"""Recorded results are read as the records that wrote them, also those of earlier versions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from benchmarks.accuracy.evaluate import AccuracyRow
from benchmarks.ascend.row import LedgerRow
from benchmarks.recorded import read_record, read_records
from benchmarks.result_file import load_result
from benchmarks.stages import StageRow
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.json_output import INLINE, NULL_UNLESS_FINITE, OMIT_NONE, json_object, named

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: float
    y: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    path: Path
    point: Point = field(metadata=INLINE)
    failure: Failure | None = field(metadata=INLINE)
    color: Literal["red", "blue"] = "red"
    size: tuple[int, int] = (1, 2)
    points: tuple[Point, ...] = ()
    by_name: dict[str, Point] = field(default_factory=dict)
    error_level: float = field(default=float("inf"), metadata=NULL_UNLESS_FINITE)
    share: float | None = field(default=None, metadata=OMIT_NONE)
    kind: Point | Failure | None = None
    tail: int = field(default=0, metadata=named("p99.9"))


@pytest.mark.parametrize(
    "row",
    [
        Row(path=Path("a"), point=Point(x=1.5), failure=None),
        Row(
            path=Path("a"),
            point=Point(x=1, y=2),
            failure=Failure(error="x"),
            color="blue",
            size=(3, 4),
            points=(Point(x=1.0), Point(x=2.0)),
            by_name={"a": Point(x=3.0)},
            error_level=0.5,
            share=0.25,
            kind=Failure(error="y"),
            tail=3,
        ),
    ],
)
def test_what_was_written_is_read(row):
    assert read_record(Row, json_object(row)) == row


def test_earlier_versions_lack_fields_and_have_others():
    assert read_record(Row, {"path": "a", "x": 1, "gone": [1]}) == Row(path=Path("a"), point=Point(x=1), failure=None)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], r"a JSON object as a row, got \[\]"),
        ({"x": 1}, "a row with the field path, got x"),
        ({"path": 1, "x": 1}, "Path as path of a row, got 1"),
        ({"path": "a", "x": "1"}, "float as x of a row, got '1'"),
        ({"path": "a", "x": True}, "float as x of a row, got True"),
        ({"path": "a", "x": 1, "size": [1]}, "tuple.* as size of a row"),
        ({"path": "a", "x": 1, "color": "green"}, "as color of a row, got 'green'"),
        ({"path": "a", "x": 1, "by_name": {"b": 1}}, "a JSON object as b of by_name of a row, got 1"),
        ({"path": "a", "x": 1, "p99.9": 0.5}, "int as p99.9 of a row"),
    ],
)
def test_other_values_are_one_error(values, reason):
    with pytest.raises(UsageError, match=reason):
        read_records(Row, [values])


def test_rows_are_a_list():
    with pytest.raises(UsageError, match="list of rows, got 1"):
        read_records(Row, 1)


@pytest.mark.checkout
@pytest.mark.parametrize(("section", "kind"), [("stages", StageRow), ("accuracy", AccuracyRow), ("ledger", LedgerRow)])
def test_recorded_results_stay_readable(section, kind):
    """Every figure of a kept row is in its record; ``busy`` is a mark of the report."""
    rows = [row for path in sorted(RESULTS.glob("*/*report.json")) for row in load_result(path).get(section, [])]
    assert rows
    for row, record in zip(rows, read_records(kind, rows), strict=True):
        written = json_object(record)
        assert {name: written[name] for name in row if name != "busy"} == {
            name: value for name, value in row.items() if name != "busy"
        }
