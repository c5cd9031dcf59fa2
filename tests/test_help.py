"""`--help` of every command and subcommand of the three programs."""

from importlib import import_module

import pytest

PROGRAMS = ("edge_sphereface.cli.__main__", "export.commands", "benchmarks.__main__")


def commands(parser):
    """A parser, and those of its subcommands, to any depth."""
    yield parser
    if parser.commands is not None:
        for command in parser.commands.choices.values():
            yield from commands(command)


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
