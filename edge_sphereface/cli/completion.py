"""The command ``completion``: scripts that let a shell complete commands, subcommands and options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import json_option
from edge_sphereface.cli.runner import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_sphereface.cli.runner import Parser

_BASH = """\
_{function}() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" path="" word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
            {known}) path="$path $word" ;;
        esac
    done
    COMPREPLY=()
    case "$path" in
{words}
    esac
}}
complete -o default -F _{function} {program}
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
_SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionScript:
    """Result of ``completion``.

    Attributes:
        shell: shell that reads the script: ``bash``, ``zsh`` or ``fish``.
        script: text for the start file of the shell.
    """

    shell: str
    script: str


def add_command(program: Parser) -> None:
    """Add ``completion``."""
    assert program.commands is not None  # noqa: S101 -- a program without commands has nothing to complete
    parser = program.commands.add_parser(
        "completion",
        parents=[json_option()],
        help="print a script that completes commands and options in a shell",
        description="Print a script that lets a shell complete commands and options. For bash and zsh, add a line to "
        f'~/.bashrc or ~/.zshrc: eval "$({program.prog} completion bash)". For fish: {program.prog} completion fish > '
        f"~/.config/fish/completions/{program.prog}.fish",
        epilog=f"example: {program.prog} completion bash",
    )
    parser.add_argument("shell", choices=_SHELLS, help="shell that reads the script")
    parser.set_defaults(run=lambda arguments: _completion(arguments.shell, program))


def _completion(shell: str, program: Parser) -> Outcome:
    made = CompletionScript(shell=shell, script=completion_script(shell, program))
    return Outcome(made, made.script.rstrip("\n"))


def completion_script(shell: str, program: Parser) -> str:
    """The script for a shell: ``bash``, ``zsh`` or ``fish``."""
    paths = dict(_paths((), program))
    if shell == "fish":
        return "".join(_fish(program.prog, paths))
    script = _BASH.format(
        function=program.prog.replace("-", "_"),
        program=program.prog,
        known="|".join(f'" {" ".join(path)}"' for path in paths if path),
        words="\n".join(
            f'        "{"".join(f" {word}" for word in path)}") '
            f'COMPREPLY=($(compgen -W "{" ".join(offered)}" -- "$current")) ;;'
            for path, offered in paths.items()
        ),
    )
    return (_ZSH if shell == "zsh" else "") + script


def _paths(path: tuple[str, ...], parser: Parser) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Every command by its words, with what can follow it: subcommands and options."""
    below: dict[str, Parser] = {} if parser.commands is None else dict(parser.commands.choices)
    yield path, [*below, *parser.options()]
    for name, child in below.items():
        yield from _paths((*path, name), child)
    if not path and "help" in below:  # which takes a command
        yield ("help",), [*below, *below["help"].options()]


def _fish(program: str, paths: dict[tuple[str, ...], list[str]]) -> Iterator[str]:
    names = [path[0] for path in paths if len(path) == 1]
    yield f"complete -c {program} -n __fish_use_subcommand -f -a '{' '.join(names)}'\n"
    for path, offered in paths.items():
        if not path:
            continue
        seen = " && ".join(f"__fish_seen_subcommand_from {word}" for word in path)
        subcommands = [word for word in offered if not word.startswith("--")]
        if subcommands:
            yield f"complete -c {program} -n '{seen}' -f -a '{' '.join(subcommands)}'\n"
        for option in offered:
            if option.startswith("--"):
                yield f"complete -c {program} -n '{seen}' -l {option[2:]}\n"
