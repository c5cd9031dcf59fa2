"""`--help` of every command and subcommand of the three programs."""

import argparse
from importlib import import_module

import pytest

PROGRAMS = ("edge_sphereface.cli.__main__", "export.commands", "benchmarks.__main__")


def commands(parser):
    """A parser, and those of its subcommands, to any depth."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name in action.choices:
                yield from commands(action.choices[name])


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_every_command(program, capsys):
    """Argparse formats help texts with `%`: an unescaped percent sign is found only when the help is asked for."""
    found = list(commands(import_module(program).build_parser()))
    assert len(found) > 5
    for parser in found:
        with pytest.raises(SystemExit) as done:
            parser.parse_args(["--help"])
        assert done.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: {parser.prog}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_is_described(program):
    """Its own help says more than the line in the list of commands."""
    for parser in commands(import_module(program).build_parser()):
        assert parser.description, parser.prog
