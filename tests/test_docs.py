"""The references of the documentation site: every public name, command, option and JSON field."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import edge_sphereface

ROOT = Path(__file__).resolve().parents[1]
API = ROOT / "docs" / "api"
pytestmark = pytest.mark.checkout


def found(path):
    """The object of a dotted path."""
    parts = path.split(".")
    for split in range(len(parts), 0, -1):
        try:
            value = import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for name in parts[split:]:
            value = getattr(value, name)
        return value
    raise AssertionError(path)


def documented():
    """Every object that the reference shows: that of each directive, and the members of a module."""
    objects = []
    for page in API.glob("*.md"):
        for path in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            value = found(path)
            objects += [getattr(value, name) for name in getattr(value, "__all__", ())] or [value]
    return objects


def public_names():
    """Each name in the ``__all__`` of a package or module."""
    packages = [edge_sphereface.__name__]
    packages += [module.name for module in walk_packages(edge_sphereface.__path__, "edge_sphereface.") if module.ispkg]
    for package in (*packages, "edge_sphereface.errors"):
        for name in getattr(import_module(package), "__all__", ()):
            yield f"{package}.{name}"


def test_every_public_name_is_documented():
    shown = documented()
    of_shown = set(map(id, shown))
    missing = [path for path in public_names() if id(found(path)) not in of_shown]
    assert missing == ["edge_sphereface.__version__"]


@pytest.fixture
def site(monkeypatch):
    """Imports a module that writes pages when the site is built."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "site")
    names = []

    def load(name):
        names.append(name)
        return import_module(name)

    yield load
    for name in names:
        sys.modules.pop(name)


def commands(parser):
    """A parser and those of its subcommands, to any depth."""
    yield parser
    if parser.commands is not None:
        for command in parser.commands.choices.values():
            yield from commands(command)


@pytest.mark.parametrize("number", range(3))
def test_every_command_and_option_is_in_the_reference(site, number):
    command_reference = site("command_reference")
    program = command_reference.PROGRAMS[number]
    page = command_reference.render(program)
    _, *below = commands(import_module(program.module).build_parser())
    sections = dict(re.findall(r"^##+ (.+?) \{ .*?\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))
    assert sections.keys() == {command.prog for command in below}
    for command in below:
        options = [
            option for action in command._actions for option in action.option_strings if option not in {"-h", "--help"}
        ]
        assert [option for option in options if f"`{option}" not in sections[command.prog]] == []


def test_every_field_of_the_json_output_is_in_the_reference(site):
    page = site("json_reference").render(ROOT / "docs" / "schema")
    schemas = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "docs" / "schema").glob("*.json")]
    assert len(schemas) > 20
    for record in (record for schema in schemas for record in (schema, *schema.get("$defs", {}).values())):
        names = list(record.get("properties", ()))
        rows = r"\n".join(rf"\| `{name}` \| .+ \| .+ \|" for name in names)
        assert re.search(rf"\|---\|---\|---\|\n{rows}\n", page) or not names, record["title"]


def test_two_records_of_one_name_are_refused(site, tmp_path):
    for name, kind in (("a", "string"), ("b", "number")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"$defs": {"Part": {"type": kind}}, "properties": {}}))
    with pytest.raises(ValueError, match="one definition of Part"):
        site("json_reference").render(tmp_path)
