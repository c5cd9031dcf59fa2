"""The command-line reference: a Markdown page for each program, written from its argument parser."""

from __future__ import annotations

import argparse
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Program(NamedTuple):
    """A program with subcommands.

    Attributes:
        page: name of its page.
        module: where its ``build_parser`` is.
        introduction: what it is for and where it runs.
    """

    page: str
    module: str
    introduction: str


PROGRAMS = (
    Program(
        "edge-sphereface",
        "edge_sphereface.cli.__main__",
        "The runtime's command, installed with the wheel. [JSON output](../json.md) describes what each prints with "
        "`--json`.",
    ),
    Program(
        "export",
        "export.commands",
        "The workstation stage: from a checkpoint to an ONNX file. [Models](../models.md) is the guide. Run it in a "
        "checkout.",
    ),
    Program(
        "benchmarks",
        "benchmarks.__main__",
        "Measurements. [Measuring](../measuring.md) is the guide. Run it in a checkout.",
    ),
)
_UNDESCRIBED = (argparse._HelpAction, argparse._SubParsersAction)
_ROOT = str(Path(__file__).resolve().parents[2])


def render(program: Program) -> str:
    """The page of a program."""
    if _ROOT not in sys.path:
        sys.path.insert(0, _ROOT)
    parser = import_module(program.module).build_parser()
    lines = [f"# {parser.prog}", "", _prose(parser.description), "", program.introduction, ""]
    commands = list(_commands(parser))
    lines += ["| command | does |", "|---|---|"]
    lines += [f"| [`{command.prog}`](#{_anchor(command)}) | {_prose(summary)} |" for command, summary, _ in commands]
    for command, summary, depth in commands:
        lines += ["", *_section(command, summary, depth, parser.prog)]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser, depth: int = 2) -> Iterator[tuple[argparse.ArgumentParser, str, int]]:
    """Every subcommand with its summary and the level of its heading."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield command, summaries.get(name, ""), depth
                yield from _commands(command, depth + 1)


def _section(command: argparse.ArgumentParser, summary: str, depth: int, program: str) -> Iterator[str]:
    """Description, usage, options and examples of one command."""
    label = command.prog.removeprefix(program).strip()
    yield f"{'#' * depth} {command.prog} {{ #{_anchor(command)} data-toc-label='{label}' }}"
    yield from ("", _prose(command.description or f"{summary[:1].upper()}{summary[1:]}."), "")
    formatter = argparse.HelpFormatter(command.prog, width=76)
    formatter.add_usage(command.usage, command._actions, command._mutually_exclusive_groups)
    yield from ("```text", formatter.format_help().strip(), "```")
    for group in command._action_groups:
        options = [action for action in group._group_actions if not isinstance(action, _UNDESCRIBED)]
        if options:
            yield from ("", f"**{(group.title or '').capitalize()}**", "")
        for action in options:
            text = formatter._expand_help(action) if action.help else ""
            yield from ("", _invocation(action, formatter), f":   {_prose(text)}")
    yield from ("", *_examples(command.epilog or ""))


def _invocation(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    """An option with its value, or the name of a positional argument."""
    if not action.option_strings:
        return f"`{formatter._format_args(action, action.dest)}`"
    value = "" if action.nargs == 0 else " " + formatter._format_args(action, action.dest.upper())
    return ", ".join(f"`{option}{value}`" for option in action.option_strings)


def _examples(epilog: str) -> Iterator[str]:
    """The examples of an epilog, such as ``example, without network: COMMAND; COMMAND``, as a code block."""
    match = re.fullmatch(r"(examples?(?:, [\w ]+)?): (.*)", epilog, re.DOTALL)
    if match:
        yield from ("", f"**{match[1].capitalize()}**", "", "```bash", *match[2].split("; "), "```")
    elif epilog:
        yield from ("", _prose(epilog))


def _anchor(command: argparse.ArgumentParser) -> str:
    return "-".join(re.findall(r"\w+", command.prog)).lower()


def _prose(text: str | None) -> str:
    """Help text as Markdown: what Markdown would read as markup is escaped, between backticks as it is."""
    parts = re.split(r"(`[^`]*`)", " ".join((text or "").split()))
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>|\[\]])", r"\\\1", part) for part in parts)
