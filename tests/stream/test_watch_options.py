"""Each option of ``watch`` is one field of its settings: command line, file and settings follow from it."""

import argparse
import json
import re
import sys
from dataclasses import dataclass, fields, is_dataclass
from functools import cache

import pytest

from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.cli.configuration import read_configuration
from edge_sphereface.cli.option import Option, option_parser, options_of, settings_from
from edge_sphereface.cli.watch_options import WatchOptions, stream_group, watch_group
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.setting import Range, Setting, nested, setting

TEXTS = ("7", "0.75", "64", "640x480", "MJPG", "9000", "a=1", "cpu", "mtcnn", "identified", "8h")
"""Each option accepts one of them that is not its default."""
needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 reads TOML with an extra")


def sample(option):
    """A text that an option accepts and that changes its value."""
    for text in TEXTS:
        try:
            if option.parse(text) != option.default:
                return text
        except argparse.ArgumentTypeError:
            continue
    raise AssertionError(f"--{option.name} accepts none of {TEXTS}")


command_line = cache(build_parser)


def parsed(words):
    """The arguments of a command line of ``watch``."""
    return vars(command_line().parse_args(["watch", *map(str, words)]))


def from_file(tmp_path, text, *words):
    """The arguments of a command line that names a file with this text."""
    file = tmp_path / "watch.toml"
    file.write_text(text)
    return {**parsed(["--config", file, *words]), "config": None}


def named(options):
    return [pytest.param(option, id=option.name) for option in options]


@pytest.mark.slow
@needs_toml
@pytest.mark.parametrize("option", named(option for option in watch_group() if option.read is not None))
def test_a_value_is_the_same_from_the_command_line_and_from_a_file(option, tmp_path):
    """As a string and, where TOML has such a number, as a number."""
    text = sample(option)
    on_line = parsed([f"--{option.name}={text}"])
    assert on_line[option.attribute] == ([option.parse(text)] if option.is_list else option.parse(text))
    assert from_file(tmp_path, f"{option.name} = {json.dumps(text)}") == on_line
    if re.fullmatch(r"[0-9.]+", text):
        assert from_file(tmp_path, f"{option.name} = {text}") == on_line
    assert settings_from(WatchOptions, on_line) == settings_from(
        WatchOptions, from_file(tmp_path, f"{option.name} = {json.dumps(text)}")
    )


@needs_toml
@pytest.mark.parametrize("option", named(option for option in watch_group() if option.read is None))
def test_a_switch_is_the_same_from_the_command_line_and_from_a_file(option, tmp_path):
    on_line = parsed([f"--{option.name}"])
    assert on_line[option.attribute] is not bool(option.default)
    assert from_file(tmp_path, f"{option.name} = true") == on_line
    assert from_file(tmp_path, f"{option.name} = false") == parsed([])


@pytest.mark.slow
@needs_toml
@pytest.mark.parametrize(
    "option", named(option for option in watch_group() if option.read is not None and not option.is_list)
)
def test_the_command_line_counts_over_the_file_and_the_file_over_the_default(option, tmp_path):
    low = sample(option)
    others = (*TEXTS, "8", "0.5", "128", "320x240", "YUYV", "yunet", "unknown,lost", "2d")
    high = next(text for text in others if differs(option, text, low))
    assert from_file(tmp_path, f"{option.name} = {json.dumps(low)}", f"--{option.name}", high) == parsed(
        [f"--{option.name}", high]
    )


def differs(option, text, other):
    try:
        return option.parse(text) != option.parse(other)
    except argparse.ArgumentTypeError:
        return False


@needs_toml
def test_an_option_that_may_be_given_again_collects_from_both(tmp_path):
    found = from_file(tmp_path, 'provider-option = ["a=1", "b=2"]', "--provider-option", "c=3")
    assert found["provider_option"] == [("a", "1"), ("b", "2"), ("c", "3")]


def test_an_option_without_its_value_is_not_the_default():
    assert parsed(["--view"])["view"] == ("127.0.0.1", 8080)


@pytest.mark.parametrize("option", named(stream_group()))
def test_an_option_changes_one_setting(option):
    """The field of its own name, in whichever settings that is."""
    words = [f"--{option.name}"] if option.read is None else [f"--{option.name}={sample(option)}"]
    before, after = flat(WatchOptions()), flat(settings_from(WatchOptions, parsed(words)))
    assert {name for name in before if before[name] != after[name]} == {option.dest}


def flat(settings):
    """Every setting by its name, also of nested settings."""
    found = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        found.update(flat(value) if is_dataclass(value) else {item.name: value})
    return found


def test_without_words_settings_have_their_defaults():
    assert settings_from(WatchOptions, parsed([])) == WatchOptions()


def test_help_and_files_know_the_same_options(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["watch", "--help"])
    shown = set(re.findall(r"^  --([a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    assert shown - {"config"} == {option.name for option in watch_group()}


def test_no_two_settings_share_a_name():
    names = [option.attribute for option in watch_group()]
    assert len(names) == len(set(names))


@dataclass(frozen=True, kw_only=True)
class Inner:
    length_s: float = setting(2.0, permitted=Range(least=1, most=9), metavar="S", help="length of it")
    hidden: int = setting(3, permitted=Range(least=0))


@dataclass(frozen=True, kw_only=True)
class Outer:
    quick: bool = setting(False, read=None, help="be quick", group="first")
    inner: Inner = nested(Inner, group="second")


@needs_toml
def test_a_field_is_enough_for_an_option(tmp_path, capsys):
    """Settings that this test makes: help with heading, unit and default, both ways to a value, its limits."""
    options = options_of(Outer)
    assert [option.name for option in options] == ["quick", "length-s"]
    parser = option_parser(options)
    assert settings_from(Outer, vars(parser.parse_args(["--length-s", "4", "--quick"]))) == Outer(
        quick=True, inner=Inner(length_s=4.0)
    )
    parser.print_help()
    assert re.search(r"second:\n  --length-s S +length of it \(default: 2\)", capsys.readouterr().out)
    with pytest.raises(EdgeSphereFaceError, match="from 1 to 9, got '10'"):
        parser.parse_args(["--length-s", "10"])
    file = tmp_path / "settings.toml"
    file.write_text("length-s = 4")
    assert read_configuration(options, ["--config", str(file)]) == {"length_s": 4.0}
    file.write_text("length-s = 10")
    with pytest.raises(EdgeSphereFaceError, match="length-s: expected a number from 1 to 9, got '10'"):
        read_configuration(options, ["--config", str(file)])
    file.write_text("lenght-s = 4")
    with pytest.raises(EdgeSphereFaceError, match="do you mean 'length-s'"):
        read_configuration(options, ["--config", str(file)])


def test_a_choice_names_what_there_is():
    with pytest.raises(EdgeSphereFaceError, match="expected one of auto, yunet, mtcnn, got 'x'"):
        parsed(["--detector", "x"])


def test_settings_without_help_have_no_option():
    """Programs alone set them, and they are checked all the same."""
    assert {item.name for item in fields(Inner) if not Setting.of(item).help} == {"hidden"}
    assert Option(name="a-b", help="x").attribute == "a_b"


@needs_toml
@pytest.mark.parametrize("option", named(option for option in watch_group() if option.bare is not None))
def test_an_option_without_a_value_is_true_in_a_file(option, tmp_path):
    found = from_file(tmp_path, f"{option.name} = true")
    assert found[option.attribute] == parsed([f"--{option.name}"])[option.attribute] == option.bare


@needs_toml
@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("mqtt", "url", '"mqtt://broker.lan/house"'),
        ("webhook", "url", '"https://house.lan/faces"'),
        ("http", "listen", '"127.0.0.1:8081"'),
        ("view", "listen", "8080"),
        ("metrics", "listen", "9464"),
        ("events", "file", '"events.jsonl"'),
        ("audit", "file", '"audit.jsonl"'),
        ("snapshots", "folder", '"pictures"'),
        ("record", "folder", '"video"'),
        ("on-event", "command", '"announce hall"'),
        ("home_assistant", "prefix", '"ha"'),
    ],
)
def test_a_table_names_its_own_option_by_what_it_takes(table, key, value, tmp_path):
    name = table.replace("_", "-")
    in_table = from_file(tmp_path, f"[{table}]\n{key} = {value}")
    assert in_table == from_file(tmp_path, f"{name} = {value}")
    other = "listen" if key != "listen" else "folder"
    with pytest.raises(EdgeSphereFaceError, match="no setting|a table"):
        from_file(tmp_path, f"[{table}]\n{other} = {value}")


@needs_toml
def test_a_setting_of_all_cameras_in_a_table_of_one_is_refused_with_its_place(tmp_path):
    with pytest.raises(EdgeSphereFaceError, match="no setting of one camera alone") as refused:
        from_file(tmp_path, '[[camera]]\nname = "door"\nsource = 0\nshared-budget = 50')
    assert "top of the file" in refused.value.hint
