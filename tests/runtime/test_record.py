"""One decoder for all records: what is written is read, and nothing else gives a record."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_sphereface.errors import CertificateError
from edge_sphereface.storage.bounded_json import JsonError, parse_json
from edge_sphereface.storage.record import Above, Between, Length, Pattern, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(Record):
    record_name = "The inner record"
    record_error = CertificateError
    record_hint = "write it again"

    ratio: Annotated[float, Above(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer(Record):
    record_name = "The outer record"
    record_error = CertificateError
    record_hint = "write it again"

    text: str
    count: int
    flag: bool
    share: Annotated[float, Between(0, 1)]
    kind: Literal["a", 3]
    code: Annotated[str, Pattern("[a-z]+", "of small letters")]
    pairs: tuple[tuple[str, float], ...]
    three: Annotated[tuple[int, ...], Length(3, 3)]
    inner: Inner
    more: tuple[Inner, ...]
    data: Annotated[bytes, Length(4)]
    free: dict[str, Any]
    perhaps: Annotated[float, Between(-1, 1)] | None


VALUES = {
    "text": "é",
    "count": -5,
    "flag": True,
    "share": 0.5,
    "kind": 3,
    "code": "abc",
    "pairs": [["x", 1.5], ["y", 2]],
    "three": [1, 2, 3],
    "inner": {"ratio": 0.1},
    "more": [{"ratio": 1}, {"ratio": 2.5}],
    "data": "AAEC",
    "free": {"a": [1, {"b": None}]},
    "perhaps": None,
}


def test_what_is_written_is_read():
    record = Outer.from_values(VALUES)
    assert record.pairs == (("x", 1.5), ("y", 2))
    assert record.more[1] == Inner(ratio=2.5)
    assert record.data == b"\0\1\2"
    assert record.free == {"a": [1, {"b": None}]}
    assert Outer.from_json(record.to_json()) == record
    assert json.loads(record.to_json()) == VALUES


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("text", 1, "text must be text, not 1"),
        ("text", "\ud800", "text must be text"),
        ("text", "x" * 5000, "text must be text of length 4096 or less"),
        ("count", 1.0, "count must be an integer, not 1.0"),
        ("count", True, "count must be an integer, not True"),
        ("count", 1 << 70, "count must be an integer, not an integer of 71 bits"),
        ("flag", 1, "flag must be true or false"),
        ("share", 1.5, "share must be a finite number from 0 to 1, not 1.5"),
        ("share", True, "share must be a finite number"),
        ("share", "0.5", "share must be a finite number"),
        ("share", {"a": 1}, "share must be a finite number"),
        ("share", float("nan"), "share must be a finite number, not nan"),
        ("kind", "b", "kind must be 'a' or 3"),
        ("kind", {"a": 1}, "kind must be 'a' or 3"),
        ("kind", 3.0, "kind must be 'a' or 3, not 3.0"),
        ("code", "A", "code must be text of small letters, not 'A'"),
        ("code", "a\n", "code must be text of small letters"),
        ("pairs", [["x"]], r"pairs\[0\] must be a list of 2"),
        ("pairs", [["x", 1], ["y", None]], r"pairs\[1\]\[1\] must be a finite number, not None"),
        ("pairs", "xy", "pairs must be a list"),
        ("pairs", [["x", 1]] * 5000, "pairs must be a list of length 4096 or less, not a list of 5000"),
        ("pairs", [["x"]] * 5000, "pairs must be a list of length 4096 or less, not a list of 5000"),
        ("three", [1, 2], "three must be a list of length 3"),
        ("inner", {"ratio": 0}, "inner.ratio must be a finite number above 0, not 0"),
        ("inner", {"ratio": 1, "x" * 200: 1}, "inner has unknown 'x{80}…'"),
        ("inner", [], "inner must be a JSON object"),
        ("more", [{}], r"more\[0\] lacks 'ratio'"),
        ("data", "AAECAwQF", "data must be base64 of length 4 or less"),
        ("data", "A", "data must be base64"),
        ("data", "?" * 5000, "data must be base64 of length 4 or less"),
        ("data", 5, "data must be base64"),
        ("free", [], "free must be a JSON object"),
        ("perhaps", 2, "perhaps must be a finite number from -1 to 1"),
    ],
)
def test_what_is_wrong_is_named(name, value, words):
    with pytest.raises(CertificateError, match=f"^The outer record is not valid: {words}.*write it again"):
        Outer.from_values({**VALUES, name: value})


def test_rules_hold_where_a_record_is_made_in_the_program():
    with pytest.raises(CertificateError, match="ratio must be a finite number above 0, not -1"):
        Inner(ratio=-1)
    with pytest.raises(CertificateError, match="ratio must be a finite number, not an integer of 20001 bits"):
        Inner(ratio=1 << 20_000)
    with pytest.raises(CertificateError, match="pairs must be a list"):
        Outer(**{**VALUES, "inner": Inner(ratio=1), "more": (), "data": b"", "three": (1, 2, 3)})
    with pytest.raises(CertificateError, match="inner must be a JSON object"):
        Outer(**{**VALUES, "pairs": (), "more": (), "data": b"", "three": (1, 2, 3)})


def test_an_earlier_version_is_read_at_any_depth():
    """`_current` brings a record of an earlier version up to date, wherever the record stands."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Newer(Inner):
        unit: str

        @classmethod
        def _current(cls, values):
            return {"unit": "px", **values}

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Holder(Inner):
        items: tuple[Newer, ...]

    assert Newer.from_values({"ratio": 1}).unit == "px"
    assert Holder.from_values({"ratio": 1, "items": [{"ratio": 2}]}).items[0].unit == "px"


def test_several_faults_are_told_together():
    with pytest.raises(CertificateError, match="count must be .*; flag must be "):
        Outer.from_values({**VALUES, "count": None, "flag": None})


@pytest.mark.parametrize("values", [None, [], "x", 5, {}, {**VALUES, "surprise": 1}])
def test_what_is_no_record_at_all(values):
    with pytest.raises(CertificateError, match="must be a JSON object|lacks|unknown"):
        Outer.from_values(values)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting property name"),
        (b"\xff", "utf-8"),
        ("NaN", "not finite: NaN"),
        ("[-Infinity]", "not finite"),
        ("1e999", "too large: 1e999"),
        ("9" * 5000, "integer of 5000 digits"),
        (f"-{'9' * 5000}.5e-9999", None),
        (f"[{'9' * 5000}.0]", "too large"),
        ("[" * 100_000, "nested more than"),
        ("[" * 40 + "]" * 40, "nested more than"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested more than"),
        ('"\\ud800"', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ('{"a": 1, "a": 2}', "same key twice"),
        (f'"{"x" * (1 << 20)}"', "at most 1048576"),
    ],
)
def test_json_that_nobody_vouches_for(text, words):
    if words is None:
        assert parse_json(text) == 0
        return
    with pytest.raises(JsonError, match=words):
        parse_json(text)
    with pytest.raises(CertificateError, match="The inner record is not JSON"):
        Inner.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 10**20, 10**20 - 1) | st.floats() | st.text(st.characters()),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.sampled_from([*VALUES, None]), JSON)
@example("free", {"": -(10**19)})
@example("free", {"": [float("inf")]})
def test_anything_is_a_record_or_our_error(name, value):
    values = value if name is None else {**VALUES, name: value}
    try:
        record = Outer.from_values(values)
    except CertificateError:
        return
    assert Outer.from_json(record.to_json()) == record
