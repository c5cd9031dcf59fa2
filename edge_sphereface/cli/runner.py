"""What every command promises to people and machines.

With ``--json`` stdout holds exactly one JSON object: the result, or ``{"error": {"code", "message", "hint"}}``;
``watch`` alone prints one for each event.
Progress and notes go to stderr. Exit codes: 0 done, 1 our errors and failed checks, 2 wrong usage, 130 interrupted.
Where a command does nothing but check, 1 says that the check failed, and 2 that it could not be made, as of ``diff``.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

from edge_sphereface.cli.hints import hint_of
from edge_sphereface.errors import EdgeSphereFaceError, OutputError
from edge_sphereface.json_output import json_text
from edge_sphereface.redaction import redact, redact_pipeline, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.json_output import Dataclass

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
SETTINGS_VARIABLES = ("EDGE_SPHEREFACE_MODEL", "EDGE_SPHEREFACE_GALLERY")
"""Variables of the environment that name files which commands read."""
THREADS_VARIABLES = ("OPENCV_FOR_THREADS_NUM", "OPENBLAS_NUM_THREADS")
"""Threads of OpenCV and of numpy's matrix products, read when they are loaded."""

_OPTION = re.compile(r"^ +(?:-\w(?: \S+)?, )?(--[a-z0-9][a-z0-9-]*)", re.MULTILINE)
_WRITTEN = ("output", "draw", "events", "mqtt_spool", "webhook_spool", "home_assistant_state")
"""Arguments that name a file to write."""
_PLACES = ("gallery", "source", "named_source", *SETTINGS_VARIABLES)
"""Arguments and variables that may name a file, and are text."""
_INVALID, _CHOOSE = "invalid choice: ", " (choose from "
"""How argparse words a choice that it does not know."""
_REQUIRED = {"numpy": "numpy", "cv2": "opencv-python-headless", "onnx": "onnx"}
"""Packages that an incomplete installation lacks, by the name that is imported. onnxruntime has an error of its own."""


class Outcome(NamedTuple):
    """What a command found.

    Attributes:
        result: record for ``--json``; None where the command printed as it went, and nothing is to be added.
        text: the same for people.
        passed: False for a check that was made and did not hold.
    """

    result: Dataclass | None
    text: str
    passed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """An error.

    Attributes:
        code: stable name of the kind of error; ``docs/json.md`` lists all.
        message: what was expected and what came.
        hint: what to do about it; may be empty.
    """

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """What every command prints with ``--json`` on an error, with exit code 1 or 2.

    Attributes:
        error: what went wrong, and what to do.
    """

    error: ErrorDetail


class UsageError(EdgeSphereFaceError):
    """The command line is wrong."""

    code = "usage"


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of exiting, so that ``--json`` holds for wrong usage too.

    Attributes:
        preset: gives values that count where the words of a command give none, such as those of a file that the words
            name.
        commands: of this parser; None where it has none.
    """

    preset: Callable[[list[str]], dict[str, Any]] | None = None
    commands: Commands | None = None

    def __init__(self, **options: Any) -> None:
        # An abbreviation would be understood here, and not where words are looked for, such as --config and --json
        super().__init__(**{"allow_abbrev": False, **options})
        self._is_mixing = False

    def add_subparsers(self, **options: Any) -> Any:
        """Add commands; see :meth:`argparse.ArgumentParser.add_subparsers`."""
        self.commands = super().add_subparsers(**options)
        return self.commands

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is left over; words count over :attr:`preset`, and that over defaults.

        Options may stand anywhere among the other words of a command. argparse alone would give all positional
        arguments their words at the first of them.
        """
        if self._is_mixing:  # argparse parses the options first and then the other words, both by this method
            return super().parse_known_args(args, namespace)
        words = list(sys.argv[1:] if args is None else args)
        if self.preset is not None:
            namespace = argparse.Namespace(**{**self.preset(words), **vars(namespace or argparse.Namespace())})
        arguments, rest = self._parse(words, namespace)
        if rest:  # an address that it may hold is not shown
            self._refuse(f"unrecognized arguments: {' '.join(map(_shown, rest))}", _shown(rest[0]), self.options())
        return arguments, rest

    def _parse(self, words: list[str], namespace: argparse.Namespace | None) -> tuple[argparse.Namespace, list[str]]:
        if self.commands is not None:
            return super().parse_known_args(words, namespace)
        self._is_mixing = True
        try:
            return self.parse_known_intermixed_args(words, namespace)
        finally:
            self._is_mixing = False

    def options(self) -> list[str]:
        """The long options of this parser, as its help lists them."""
        return _OPTION.findall(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line."""
        word, _, known = message.partition(_INVALID)[2].partition(_CHOOSE)
        self._refuse(message, word.strip("'"), [name.strip("' ") for name in known.rstrip(")").split(",")])

    def _refuse(self, message: str, word: str, known: list[str]) -> NoReturn:
        """Raise a usage error that suggests what is nearest to a word."""
        from difflib import get_close_matches

        near = get_close_matches(word, known, n=1) if word else []
        meant = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"{self.prog}: {message}.", hint=f"{meant}{self.prog} --help shows what it takes")


def _shown(word: str) -> str:
    """A word of a command line, as it may be printed."""
    if word.startswith("-"):
        return word.partition("=")[0]
    if "://" in word:
        return redact_url(word)
    return "***" if "@" in word else redact_pipeline(word)  # one without its quotes falls into such words


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 -- argparse names it nowhere else
"""What commands are added to."""


def add_help_command(program: Parser) -> None:
    """Add ``help COMMAND``, the same as ``COMMAND --help``."""
    assert program.commands is not None  # noqa: S101 -- a program without commands needs no such command
    parser = program.commands.add_parser(
        "help",
        help="show the help of a command",
        description="Show the help of the program or of a command, as --help does.",
        epilog=f"example: {program.prog} help {next(iter(program.commands.choices))}",
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="command, and its subcommand if it has any")

    def show(arguments: argparse.Namespace) -> Outcome:
        """Print the help; argparse ends the program."""
        program.parse_args([*arguments.words, "--help"])
        raise AssertionError("argparse prints the help and exits")

    parser.set_defaults(run=show)


def run(
    parser: Parser, argv: Sequence[str] | None = None, *, asks_for_json: Callable[[list[str]], bool] = lambda _: False
) -> int:
    """Parse the command line, run the command in ``run`` of its arguments, print its outcome.

    Args:
        parser: of the command line.
        argv: its words; None for the process's own.
        asks_for_json: whether something that the words name asks for JSON, where they themselves do not.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    on_error, gallery = FAILED, ""
    try:
        arguments = parser.parse_args(words)
        gallery = str(getattr(arguments, "gallery", None) or "")
        on_error = USAGE if getattr(arguments, "is_check", False) else FAILED
        for output in (getattr(arguments, name, None) for name in _WRITTEN):
            if isinstance(output, Path):
                refuse_to_replace_inputs(arguments, output)
        command: Callable[[argparse.Namespace], Outcome] = arguments.run
        threads = getattr(arguments, "threads", None)
        if isinstance(threads, int):
            _bound_threads(threads)
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            outcome = command(arguments)
        if outcome.result is not None:
            _print(json_text(outcome.result) if as_json else outcome.text)
    except EdgeSphereFaceError as error:
        _print_error(error, gallery=gallery, as_json=as_json or asks_for_json(words))
        return USAGE if isinstance(error, UsageError) else on_error
    except ModuleNotFoundError as error:
        package = _REQUIRED.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        missing = EdgeSphereFaceError(f"The Python package {package} is not installed.", hint=f"pip install {package}")
        _print_error(missing, as_json=as_json or asks_for_json(words))
        return on_error
    except KeyboardInterrupt:
        note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return on_error
    return OK if outcome.passed else FAILED


def refuse_to_replace_inputs(arguments: argparse.Namespace, output: Path) -> None:
    """Refuse a file to write that is an input.

    Inputs are files that the arguments or the environment's settings name, and photographs in folders that they name.

    Raises:
        UsageError: it is one, under whatever name.
    """
    for name, value in [*vars(arguments).items(), *_settings().items()]:
        if name in _WRITTEN:
            continue
        for item in value if isinstance(value, list) else [value]:
            if (isinstance(item, Path) or (name in _PLACES and isinstance(item, str))) and _is_same(output, item):
                raise UsageError(f"{output} is an input of this command, and would be lost.", hint="name another file")


def _settings() -> dict[str, str]:
    return {name: os.environ[name] for name in SETTINGS_VARIABLES if name in os.environ}


def _is_same(output: Path, item: str | Path) -> bool:
    try:
        if not output.is_file():
            return False
        if Path(item).is_dir():
            return _is_photograph_below(output.resolve(), Path(item).resolve())
        return output.samefile(item)
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return False


def _is_photograph_below(output: Path, folder: Path) -> bool:
    from edge_sphereface.image import IMAGE_SUFFIXES

    return output.suffix.lower() in IMAGE_SUFFIXES and output.is_relative_to(folder)


def note(text: str) -> None:
    """One line on stderr, without what looks like credentials."""
    print(redact(text), file=sys.stderr, flush=True)


class Progress:
    """A counter on stderr: one line rewritten on a terminal, a line every ten seconds elsewhere.

    Args:
        what: such as ``downloading``.
        unit: ``MiB`` shows bytes in MiB; anything else is counted.
        later_s: seconds of the steps that follow, from those that this one takes as a whole; None if nothing follows.
        clock: monotonic time in seconds.
    """

    _QUIET_S = 10.0
    _ESTIMATE_S = 5.0
    """Work that has taken so long shows how long the rest will take at the same speed."""

    def __init__(
        self,
        what: str,
        unit: str = "",
        *,
        later_s: Callable[[float], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._later_s = later_s
        self._clock = clock
        self._began = clock()
        self._width = 0
        self._divisor = 1 << 20 if unit == "MiB" else 1
        self._unit = unit
        self._is_terminal = sys.stderr.isatty()
        self._next = 0.0 if self._is_terminal else self._began + self._QUIET_S

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` (0 if unknown) are done."""
        last = bool(total) and done >= total
        now = self._clock()
        if now < self._next and not (last and self._is_terminal):
            return
        self._next = now + (0.1 if self._is_terminal else self._QUIET_S)
        amount = f"{done / self._divisor:.0f}" + (f" / {total / self._divisor:.0f}" if total else "")
        text = f"{self._what}: {amount} {self._unit}".rstrip() + self._estimate(done, total, now - self._began)
        if not self._is_terminal:
            print(text, file=sys.stderr, flush=True)
            return
        print(f"\r{text:<{self._width}}", end="\n" if last else "", file=sys.stderr, flush=True)
        self._width = len(text)  # what a longer line leaves behind is overwritten

    def _estimate(self, done: int, total: int, elapsed_s: float) -> str:
        """How long the rest will take; empty in the beginning, at the end, and where that cannot be known."""
        if not 0 < done < total or elapsed_s < self._ESTIMATE_S:
            return ""
        left_s = elapsed_s * (total - done) / done
        if self._later_s is None:
            return f", about {_duration(left_s)} left"
        all_s = left_s + self._later_s(left_s + elapsed_s)
        return f", about {_duration(left_s)} left, {_duration(all_s)} with the later steps"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _bound_threads(threads: int) -> None:
    """Hold OpenCV (alignment, optical flow) and numpy's matrix products to ``--threads`` in this process.

    Both read a variable when they are loaded, which happens after this; OpenCV can be told later too.
    """
    for name in THREADS_VARIABLES:
        os.environ[name] = str(threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)


def _print_warning(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 -- the signature is the standard library's
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: object = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    note(f"warning: {message}")


def _print(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # a name of a file may be no text at all
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Cannot write to standard output: {error.strerror}.", hint="is the disk full?") from error


def _print_error(error: EdgeSphereFaceError, *, gallery: str = "", as_json: bool) -> None:
    hint = hint_of(error, gallery=gallery)
    if as_json:
        detail = ErrorDetail(code=error.code, message=redact(error.message), hint=redact(hint))
        with suppress(OutputError):  # then standard error is the only place left
            _print(json_text(ErrorReport(error=detail), ascii_only=True))
            return
    note(f"error: {error.message}")
    if error.hint:
        note(f"hint:  {hint}")
