"""Records as JSON."""

import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.json_output import (
    INLINE,
    NULL_UNLESS_FINITE,
    OMIT_NONE,
    json_object,
    json_text,
    json_value,
    rounded,
)


class Color(Enum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    path: Path
    size: Size = field(metadata=INLINE)
    score: float = field(default=0.123456, metadata=rounded(3))
    error: float = field(default=float("inf"), metadata=NULL_UNLESS_FINITE)
    crop: Size | None = None


def test_fields_become_an_object_in_order():
    found = json_object(Photo(path=Path("a.jpg"), size=Size(height=2, width=3), crop=Size(height=1, width=1)))
    assert list(found.items()) == [
        ("path", "a.jpg"),
        ("height", 2),
        ("width", 3),
        ("score", 0.123),
        ("error", None),
        ("crop", {"height": 1, "width": 1}),
    ]


def test_a_record_that_is_not_there_leaves_no_fields():
    @dataclass(frozen=True)
    class Maybe:
        size: Size | None = field(metadata=INLINE)

    assert json_object(Maybe(size=None)) == {}


def test_a_value_that_is_not_there_is_left_out_where_its_field_says_so():
    @dataclass(frozen=True)
    class Maybe:
        name: str | None = field(metadata=OMIT_NONE)
        size: Size | None = None

    assert json_object(Maybe(name=None)) == {"size": None}
    assert json_object(Maybe(name="")) == {"name": "", "size": None}


def test_numbers_are_rounded_however_deep():
    @dataclass(frozen=True)
    class Points:
        points: tuple[tuple[float, float], ...] = field(metadata=rounded(1))

    assert json_object(Points(((0.12, 0.18), (3, np.float64(2.55))))) == {"points": [[0.1, 0.2], [3, 2.5]]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.int64(3), 3),
        (np.array([[1, 2]]), [[1, 2]]),
        (Color.RED, "red"),
        ((1, None), [1, None]),
        (frozenset("ba"), ["a", "b"]),
        ({"a": (1,)}, {"a": [1]}),
        (b"\x00", "AA=="),
    ],
)
def test_values(value, expected):
    found = json_value(value)
    assert found == expected
    assert json.loads(json.dumps(found)) == expected


def test_a_number_that_is_not_finite_is_refused_unless_its_field_allows_it():
    with pytest.raises(ValueError, match="JSON"):
        json_text({"x": float("nan")})


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(TypeError, match="object"):
        json_value(object())


def test_one_line_with_or_without_other_characters():
    assert json_text({"name": "Žofie"}) == '{"name": "Žofie"}'
    assert json_text({"name": "Žofie"}, ascii_only=True) == '{"name": "\\u017dofie"}'
