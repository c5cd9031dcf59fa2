"""Removes user names, passwords and tokens from messages, events and source names."""

from __future__ import annotations

import re

_HIDDEN = "***"
_URL = re.compile(
    r"(?P<scheme>(?<![\w+.-])[\w+.-]+)(?P<slashes>://|:/(?=[^\n]{0,500}@(?!\s)))"
    r"(?P<rest>\*\*\*@\S*|[^\n]{0,500}@(?!\s)\S*|\S*)"
)
"""A URL up to the last ``@`` of the line that a host may follow. An unescaped password may hold any character and
spaces.

A URL that is already redacted ends at a space, whatever follows in the sentence. A path keeps one slash of two.
"""
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::\d{1,5})?")
_SEGMENT = re.compile(r"[\w.~-]{0,64}")
"""A segment of a path that holds only a name."""
_PUNCTUATION = ".,:;!)]}>'\"`"
_NOUNS = "password|passwd|passphrase|pwd|secret|token"
_WORDS = rf"{_NOUNS}|user-pw|user-id|(?:api|access|private|secret)[_-]?key"
_VALUE = r"(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s]+)"
_SETTING = re.compile(
    rf"(?i)(?P<word>(?<![\w-])[\w-]*(?:(?:{_WORDS})[\"']?\s*=|(?:{_NOUNS})[\"']?\s*:)\s*"
    rf"|[?&](?:user|username|login|key|auth)=){_VALUE}"
)
"""A setting whose name denotes a credential; the query of a URL has a few more such names."""
_PROPERTY = re.compile(rf"(?i)(?P<word>(?<![\w-])[\w-]*(?:user|username|login|key|auth)[\"']?\s*=\s*){_VALUE}")
"""A property that denotes a credential in a pipeline or a connection string, but has other meanings in prose."""


def redact(text: str) -> str:
    """Remove from a text what looks like credentials.

    A URL keeps its scheme, its host, and its path up to the first segment that is more than a name. A setting such as
    ``password=…`` loses its value. Text that is already redacted does not change.
    """
    return _SETTING.sub(_without_value, _URL.sub(_redacted, text))


def redact_pipeline(text: str) -> str:
    """Redact a pipeline or its output, like :func:`redact`, including properties such as ``user=`` and ``key=``."""
    return _PROPERTY.sub(_without_value, redact(text))


def redact_url(url: str) -> str:
    """Remove the credentials from a text that is one URL; see :func:`redact`."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{_public(rest)}"


def has_credentials(text: str) -> bool:
    """Whether a text holds what looks like a password."""
    return bool(_SETTING.search(text)) or any("@" in url["rest"] for url in _URL.finditer(text))


def _redacted(found: re.Match[str]) -> str:
    rest = found["rest"].rstrip(_PUNCTUATION)
    return f"{found['scheme']}{found['slashes']}{_public(rest)}{found['rest'][len(rest) :]}"


def _without_value(found: re.Match[str]) -> str:
    """Replace the value of a match; quotes and the full stop of the surrounding sentence stay."""
    value = found["value"]
    end = "" if value[0] in "\"'" else value[len(value.rstrip(_PUNCTUATION)) :]
    return f"{found['word']}{_HIDDEN}{end}"


def _public(rest: str) -> str:
    """The part of a URL after its scheme that may be printed."""
    before, at, rest = rest.rpartition("@")
    if re.search(r"[/?#]", before):  # an unescaped password, or one in the path: its end is unknown
        return _HIDDEN
    place, *query = re.split(r"[?#]", rest, maxsplit=1)
    host, *segments = place.split("/")
    shown = [host if not host or _HOST.fullmatch(host) else _HIDDEN]
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            shown.append(_HIDDEN)
            break
        shown.append(segment)
    return f"{_HIDDEN if before else ''}{at}{'/'.join(shown)}{'?' + _HIDDEN if query else ''}"
