"""The library speaks of parameters and values; the command line adds its commands and options."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

import edge_sphereface
from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.cli.hints import COMMANDS, hint_of
from edge_sphereface.errors import GalleryNotFoundError, ModelFormatError, Remedy
from edge_sphereface.extras import install_command
from export.commands import build_parser as build_export_parser

PACKAGE = Path(edge_sphereface.__file__).parent
OF_THE_TERMINAL = "cli"
"""Folder whose texts are read at a terminal."""
PROGRAM = re.compile(r"edge-sphereface [a-z]|python -m|`gallery ")


def parsers(parser):
    yield parser
    if parser.commands is not None:
        for command in parser.commands.choices.values():
            yield from parsers(command)


def options():
    return {option for parser in parsers(build_parser()) for option in parser.options()}


@cache
def texts(path):
    """String literals of a module with their lines, less its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def library():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] != OF_THE_TERMINAL:
            yield path


def test_library_messages_name_no_command_and_no_option():
    words = re.compile("|".join(rf"{re.escape(option)}(?![\w-])" for option in options() if option.startswith("--")))
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in library()
        for line, text in texts(path)
        if PROGRAM.search(text) or words.search(text)
    ]
    assert not found


def test_every_remedy_has_a_command_and_is_recommended_somewhere():
    assert set(COMMANDS) == set(get_args(Remedy))
    used = {text for path in library() if path.name != "errors.py" for _, text in texts(path)}
    assert set(COMMANDS) <= used


def test_the_recommended_commands_and_options_exist():
    known = options()
    commands = {parser.prog for parser in parsers(build_parser())}
    export_commands = set(build_export_parser().commands.choices)
    for text in COMMANDS.values():
        assert set(re.findall(r"(?<!\S)--[a-z-]+", text)) <= known | {"--checkpoint"}, text
        for command in re.findall(r"edge-sphereface(?: [a-z][a-z-]*)+", text):
            assert command in commands, text
        for command in re.findall(r"python -m export ([a-z-]+)", text):
            assert command in export_commands, text


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (ModelFormatError("Damaged."), ""),
        (ModelFormatError("Damaged.", hint="convert it again"), "convert it again"),
        (
            GalleryNotFoundError("There is no gallery.", hint="enroll somebody to create it", remedy="create-gallery"),
            "enroll somebody to create it: edge-sphereface enroll",
        ),
        (
            ModelFormatError("A checkpoint.", hint="convert it", remedy="convert-model", file="my weights.ckpt"),
            "convert it: python -m export convert 'my weights.ckpt' -o 'my weights.onnx'",
        ),
    ],
)
def test_the_command_follows_the_hint(error, hint):
    assert hint_of(error) == hint
    assert hint_of(error.about("photo.jpg")) == hint


def test_a_checkpoint_given_as_a_model_is_told_how_to_convert_it(cli, small_checkpoint):
    code, _, err = cli("info", "--model", small_checkpoint)
    assert code == 1
    assert f"python -m export convert {small_checkpoint} -o {small_checkpoint.stem}.onnx" in err


def test_doctor_advises_the_command(cli, small_checkpoint):
    _, out, _ = cli("doctor", "--model", small_checkpoint)
    assert "python -m export convert" in " ".join(out.split())


def test_extras_are_installed_from_a_checkout_where_there_is_one(tmp_path):
    """The package index may not have the project."""
    assert install_command("web", tmp_path) == "pip install 'edge-sphereface[web]'"
    (tmp_path / "pyproject.toml").touch()
    assert install_command("web", tmp_path) == "pip install '.[web]'"


def test_every_message_installs_an_extra_that_way():
    found = [path for path in PACKAGE.rglob("*.py") if "pip install '" in path.read_text(encoding="utf-8")]
    assert found == [PACKAGE / "extras.py"]
