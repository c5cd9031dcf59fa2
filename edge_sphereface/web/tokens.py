"""Tokens of the HTTP interface: names, scopes and rates, stored as digests in a file.

A token is 32 random bytes, so that a plain SHA-256 of it cannot be reversed by guessing, as that of a password could.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args

from edge_sphereface.errors import TokenError
from edge_sphereface.storage.files import PRIVATE, atomic_write, try_lock
from edge_sphereface.storage.record import Between, Length, Pattern, Record, Sha256
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Scope: TypeAlias = Literal["read", "identify", "enroll", "embed", "admin"]
"""What a token permits.

``read``: events, health, cameras, snapshots and the names of people. ``identify``: detect, verify and identify faces of
pictures. ``enroll``: change the gallery. ``embed``: get embeddings. ``admin``: all of these, and change cameras.
"""
SCOPES: tuple[Scope, ...] = get_args(Scope)

DEFAULT_RATE, DEFAULT_BURST = 20.0, 40
LOCAL, PAGE = "local", "page"
"""Names of holders without a token of a file: this machine's programs, and viewers with the token of the page."""
_PREFIX = "esf_"
"""Lets scanners of repositories and logs recognize a token that was published by mistake."""
_KIND = "face-recognition tokens"
_MAX_TOKENS = 1000
_NAME = Pattern(r"[\w.@ -]{1,64}", "of 1 to 64 letters, digits, spaces and . @ _ -")
_FILE = RegularFile(what="file of tokens", limit=1 << 20, error=TokenError, hint="make one by adding a token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Record):
    """A token, without its secret.

    Attributes:
        name: unique name, which the audit file shows.
        sha256: SHA-256 of the token's text, in hexadecimal.
        scopes: what it permits.
        created_at: when it was made: UTC, ISO 8601.
        per_second: requests per second that it may make on average.
        burst: requests that it may make at once.
    """

    record_name = "A token"
    record_error = TokenError
    record_hint = "remove it, and add it again"

    name: Annotated[str, _NAME]
    sha256: Sha256
    scopes: Annotated[tuple[Scope, ...], Length(len(SCOPES), 1)]
    created_at: str
    per_second: Annotated[float, Between(0.001, 10_000)]
    burst: Annotated[int, Between(1, 100_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenList(Record):
    """Content of a file of tokens.

    Attributes:
        kind: kind of the file.
        schema_version: version of the format.
        tokens: the tokens by name.
    """

    record_name = "The file of tokens"
    record_error = TokenError
    record_hint = "restore it from a backup, or make a new one by adding tokens"

    kind: Literal["face-recognition tokens"] = _KIND  # type: ignore[assignment] # the same text
    schema_version: Literal[1] = 1
    tokens: Annotated[tuple[Token, ...], Length(_MAX_TOKENS)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenHolder:
    """Who makes a request.

    Attributes:
        name: name of the token.
        scopes: what it permits.
        per_second: requests per second that it may make on average.
        burst: requests that it may make at once.
    """

    name: str
    scopes: frozenset[str]
    per_second: float = DEFAULT_RATE
    burst: int = DEFAULT_BURST

    def may(self, scope: Scope) -> bool:
        """Whether the token permits something; ``admin`` permits everything."""
        return scope in self.scopes or "admin" in self.scopes


def digest_of(token: str) -> str:
    """SHA-256 of a token's text, in hexadecimal."""
    import hashlib  # loads OpenSSL, which a program without tokens does not need

    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def read_tokens(path: str | os.PathLike[str]) -> tuple[Token, ...]:
    """Read a file of tokens.

    Raises:
        TokenError: the file does not exist, is damaged, or others may read or write it.
    """
    with _FILE.open(path) as stream:
        mode = os.fstat(stream.fileno()).st_mode
        text = stream.read(_FILE.limit)
    if os.name == "posix" and mode & 0o077:
        raise TokenError(
            f"Expected a file of tokens that its owner alone may read; {path} has mode {mode & 0o777:04o}.",
            hint=f"chmod 600 {path}",
        )
    return TokenList.from_json(text, name=f"The file of tokens {path}").tokens


def add_token(
    path: str | os.PathLike[str],
    name: str,
    scopes: Sequence[Scope],
    *,
    per_second: float = DEFAULT_RATE,
    burst: int = DEFAULT_BURST,
) -> str:
    """Make a token and add it to a file, which is created if there is none (mode 0600).

    Returns:
        The token, which is stored nowhere.

    Raises:
        TokenError: there is a token of that name, the name is one of the server itself, the name or a bound is not
            valid, or the file cannot be used.
        OutputError: the file cannot be written; it was not changed.
    """
    _require_free(name)
    made = f"{_PREFIX}{secrets.token_urlsafe(32)}"
    token = Token(
        name=name,
        sha256=digest_of(made),
        scopes=tuple(dict.fromkeys(scopes)),
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        per_second=per_second,
        burst=burst,
    )
    with _changing(Path(path)):
        tokens = read_tokens(path) if os.path.lexists(path) else ()
        if any(known.name == name for known in tokens):
            raise TokenError(f"There is a token {name!r} already.", hint="remove it first, or give another name")
        _write(path, (*tokens, token))
    return made


def remove_tokens(path: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Remove tokens from a file; servers refuse them from then on.

    Raises:
        TokenError: a token does not exist; none is removed. Or the file cannot be used.
        OutputError: the file cannot be written; it was not changed.
    """
    gone = set(names)
    with _changing(Path(path)):
        tokens = read_tokens(path)
        missing = sorted(gone - {token.name for token in tokens})
        if missing:
            raise TokenError(f"There is no token {missing[0]!r} in {path}.", hint="list the tokens for their names")
        _write(path, [token for token in tokens if token.name not in gone])


class TokenBook:
    """The tokens of a file, read again whenever the file has changed. Safe to use from several threads.

    Args:
        path: the file.

    Raises:
        TokenError: the file cannot be used, or one of its tokens has a name of the server itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._read: tuple[tuple[int, ...], tuple[Token, ...]] = self._version(), _served(path)

    def holder(self, text: str) -> TokenHolder | None:
        """Whose token this is; None if it is nobody's. The time that this takes does not depend on the text.

        Raises:
            TokenError: the file was changed and cannot be used any more.
        """
        digest, found = digest_of(text), None
        for token in self._tokens():  # all of them, whichever matches
            if hmac.compare_digest(digest, token.sha256):
                found = token
        return None if found is None else _holder(found)

    def _tokens(self) -> tuple[Token, ...]:
        version = self._version()
        known, tokens = self._read
        if version != known:
            tokens = _served(self._path)
            self._read = version, tokens
        return tokens

    def _version(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return ()  # reading it says why
        return status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """Read scopes from a text such as ``read,identify``.

    Raises:
        ValueError: a word is no scope.
    """
    words = [word for word in re.split(r"[,\s]+", text) if word]
    if not words or any(word not in SCOPES for word in words):
        raise ValueError(f"expected scopes such as read,identify of {', '.join(SCOPES)}, got {text!r:.80}")
    return tuple(scope for scope in SCOPES if scope in words)


def _served(path: str | os.PathLike[str]) -> tuple[Token, ...]:
    """The tokens of a file for a server, which would mistake its own names for those of tokens."""
    tokens = read_tokens(path)
    for token in tokens:
        _require_free(token.name)
    return tokens


def _require_free(name: str) -> None:
    if name.strip().casefold() in (LOCAL, PAGE):
        raise TokenError(
            f"Expected another name for a token than {name!r}, which the server uses itself.",
            hint="remove that token if there is one, and add one with another name",
        )


def _holder(token: Token) -> TokenHolder:
    return TokenHolder(name=token.name, scopes=frozenset(token.scopes), per_second=token.per_second, burst=token.burst)


def _write(path: str | os.PathLike[str], tokens: Iterable[Token]) -> None:
    listed = TokenList(tokens=tuple(sorted(tokens, key=lambda token: token.name)))
    with atomic_write(path, mode=PRIVATE) as output:
        output.write(f"{listed.to_json()}\n".encode())


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Let one process at a time change the file: its folder is locked meanwhile."""
    try:
        descriptor = os.open(path.absolute().parent, os.O_RDONLY)
    except OSError:  # without the folder, writing says what is wrong; Windows opens no folders
        yield
        return
    try:
        if not try_lock(descriptor):
            raise TokenError(f"Another process is changing {path}.", hint="try again")
        yield
    finally:
        os.close(descriptor)
