"""``edge-sphereface tokens``: who may use the HTTP interface."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import above_zero, json_option, positive
from edge_sphereface.cli.runner import Outcome
from edge_sphereface.web.tokens import (
    DEFAULT_BURST,
    DEFAULT_RATE,
    SCOPES,
    add_token,
    parse_scopes,
    read_tokens,
    remove_tokens,
)

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.web.tokens import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedToken:
    """A token, without its secret.

    Attributes:
        name: its name.
        scopes: what it permits.
        created_at: when it was made: UTC, ISO 8601.
        per_second: requests per second that it may make on average.
        burst: requests that it may make at once.
    """

    name: str
    scopes: tuple[Scope, ...]
    created_at: str
    per_second: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensReport:
    """What ``tokens list`` found.

    Attributes:
        file: path of the file of tokens.
        tokens: the tokens by name.
    """

    file: Path
    tokens: tuple[ListedToken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedToken:
    """What ``tokens add`` made.

    Attributes:
        file: path of the file of tokens.
        name: name of the token.
        scopes: what it permits.
        token: the token itself, which is stored nowhere. Keep it as you would a password.
    """

    file: Path
    name: str
    scopes: tuple[Scope, ...]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedTokens:
    """What ``tokens remove`` did.

    Attributes:
        file: path of the file of tokens.
        removed: names of the tokens that were removed.
    """

    file: Path
    removed: tuple[str, ...]


def add_command(commands: Commands) -> None:
    """Add this command and those below it to the parser."""
    parser = commands.add_parser(
        "tokens",
        help="add, list and remove tokens of the HTTP interface",
        description="Manage the tokens of the HTTP interface, in a file that holds their digests. A server that uses "
        "the file follows it: a removed token is refused from then on. Every command has --json.",
        epilog="example: edge-sphereface tokens add tokens.json doorbell --scopes identify",
    )
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = below.add_parser(
        "add",
        parents=[json_option()],
        help="make a token, and print it once",
        description="Make a token and add it to a file (mode 0600), which is created if there is none. The token is "
        "printed, and stored nowhere.",
        epilog="example: edge-sphereface tokens add tokens.json doorbell --scopes identify,read",
    )
    add.add_argument("file", type=Path, help="file of tokens")
    add.add_argument("name", help="name of the token, which an audit shows")
    add.add_argument(
        "--scopes",
        type=_scopes,
        required=True,
        metavar="SCOPE,…",
        help=f"what it permits: {', '.join(SCOPES)}, which includes all others",
    )
    add.add_argument(
        "--rate", type=above_zero, default=DEFAULT_RATE, metavar="N", help="requests per second (default: 20)"
    )
    add.add_argument(
        "--burst", type=positive, default=DEFAULT_BURST, metavar="N", help="requests at once (default: 40)"
    )
    add.set_defaults(run=_add)
    listed = below.add_parser(
        "list",
        parents=[json_option()],
        help="list tokens with their scopes",
        description="List the tokens of a file with their scopes and rates. The tokens themselves are not known.",
        epilog="example: edge-sphereface tokens list tokens.json",
    )
    listed.add_argument("file", type=Path, help="file of tokens")
    listed.set_defaults(run=_list)
    remove = below.add_parser(
        "remove",
        parents=[json_option()],
        help="remove tokens",
        description="Remove tokens from a file. Servers refuse them from then on.",
        epilog="example: edge-sphereface tokens remove tokens.json doorbell",
    )
    remove.add_argument("file", type=Path, help="file of tokens")
    remove.add_argument("name", nargs="+", help="name of a token")
    remove.set_defaults(run=_remove)


def _add(arguments: argparse.Namespace) -> Outcome:
    token = add_token(
        arguments.file, arguments.name, arguments.scopes, per_second=arguments.rate, burst=arguments.burst
    )
    report = AddedToken(file=arguments.file, name=arguments.name, scopes=arguments.scopes, token=token)
    return Outcome(report, token)


def _list(arguments: argparse.Namespace) -> Outcome:
    tokens = tuple(
        ListedToken(
            name=token.name,
            scopes=token.scopes,
            created_at=token.created_at,
            per_second=token.per_second,
            burst=token.burst,
        )
        for token in read_tokens(arguments.file)
    )
    lines = [
        f"{token.name}: {', '.join(token.scopes)}; {token.per_second:g} requests a second; since {token.created_at}"
        for token in tokens
    ]
    return Outcome(TokensReport(file=arguments.file, tokens=tokens), "\n".join([*lines, _count(len(tokens))]))


def _remove(arguments: argparse.Namespace) -> Outcome:
    remove_tokens(arguments.file, arguments.name)
    report = RemovedTokens(file=arguments.file, removed=tuple(arguments.name))
    return Outcome(report, f"removed {', '.join(report.removed)}")


def _scopes(text: str) -> tuple[Scope, ...]:
    try:
        return parse_scopes(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _count(number: int) -> str:
    return "1 token" if number == 1 else f"{number} tokens"
