"""Fields of settings: what they permit, and how their values are read from text."""

import math
from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sphereface.setting import Range, VisibleText, check, setting
from edge_sphereface.stream import RecognitionSettings, StreamSettings, TrackingSettings


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "words"),
    [
        (Range(least=0, is_open=True), (1e-9, math.inf), (0, -1, math.nan), "above 0"),
        (Range(least=0, most=1000, is_open=True), (1000,), (0, 1000.1), "above 0 and up to 1000"),
        (Range(least=0), (0, 5, np.float32(5)), (-1e-9, math.nan, "1", None), "of at least 0"),
        (Range(least=32, most=8192), (32, 8192), (31, 8193), "of 32 to 8192"),
    ],
)
def test_a_range_knows_its_limits_and_says_them(limits, inside, outside, words):
    assert all(value in limits for value in inside)
    assert not any(value in limits for value in outside)
    assert str(limits) == words


@pytest.mark.parametrize(
    ("limits", "text", "expected"),
    [
        (Range(least=1, is_whole=True), "0", "an integer from 1 to 2147483647, got '0'"),
        (Range(least=1, is_whole=True), "2.0", "an integer from 1 to 2147483647, got '2.0'"),
        (Range(least=1, is_whole=True), "9" * 5000, "an integer from 1 to 2147483647, got '9999"),
        (Range(is_whole=True), "x", "an integer from -2147483647 to 2147483647, got 'x'"),
        (Range(least=0, is_open=True), "0", "a number above 0, up to 1e+09, got '0'"),
        (Range(least=0, is_open=True), "inf", "a number above 0, up to 1e+09, got 'inf'"),
        (Range(least=0), "nan", "a number from 0 to 1e+09, got 'nan'"),
        (Range(least=-1, most=1, noun="a cosine"), "1.1", "a cosine from -1 to 1, got '1.1'"),
    ],
)
def test_text_outside_a_range_is_refused_with_the_limits(limits, text, expected):
    with pytest.raises(ValueError, match="expected") as refused:
        limits.parse(text)
    assert f"expected {expected}" in str(refused.value)
    assert len(str(refused.value)) < 120


@given(st.floats(min_value=1, max_value=1e9))
def test_every_number_in_a_range_is_read_as_written(value):
    assert Range(least=1).parse(repr(value)) == value


@given(st.integers(min_value=1, max_value=(1 << 31) - 1))
def test_every_integer_in_a_range_is_read_as_an_integer(value):
    read = Range(least=1, is_whole=True).parse(str(value))
    assert (read, type(read)) == (value, int)


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "\x00"])
def test_a_name_that_nobody_sees_is_refused(text):
    with pytest.raises(ValueError, match="visible"):
        VisibleText().parse(text)
    with pytest.raises(ValueError, match="Expected name of visible characters"):
        StreamSettings(name=text)


def outside(permitted):
    """Values that a set of values does not hold."""
    return [" "] if isinstance(permitted, VisibleText) else [permitted.least - 1, math.nan]


@pytest.mark.parametrize("kind", [StreamSettings, TrackingSettings, RecognitionSettings])
def test_settings_refuse_in_every_field_what_it_does_not_permit(kind):
    limited = [item for item in fields(kind) if item.metadata["setting"].permitted is not None]
    assert len(limited) >= 3
    for item in limited:
        for value in outside(item.metadata["setting"].permitted):
            with pytest.raises(ValueError, match=f"Expected {item.name} "):
                kind(**{item.name: value})


def test_none_is_permitted_where_it_is_the_default_alone():
    @dataclass
    class Some:
        unset: float | None = setting(None, permitted=Range(least=1))
        always: float = setting(2.0, permitted=Range(least=1))

    check(Some())
    with pytest.raises(ValueError, match="Expected always of at least 1, got None"):
        check(Some(always=None))
