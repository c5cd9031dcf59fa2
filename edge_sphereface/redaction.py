"""Removes user names, passwords and tokens from messages, events and source names."""

from __future__ import annotations

import re

_HIDDEN = "***"
_URL = re.compile(
    r"(?P<scheme>(?<![\w+.-])[\w+.-]+)(?P<slashes>://|:/(?=[^\n]{0,500}@(?!\s)))"
    r"(?P<rest>\*\*\*@\S*|[^\n]{0,500}@(?!\s)\S*|\S*)"
)
"""Up to the last ``@`` of the line that a host may follow: an unescaped password may hold any character, spaces too.

A URL that is redacted already ends at a space, whatever the sentence around it holds. A path keeps one slash of two.
"""
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::\d{1,5})?")
_SEGMENT = re.compile(r"[\w.~-]{0,64}")
"""Of a path, if it holds no more than a name."""
_PUNCTUATION = ".,:;!)]}>'\"`"
_NOUNS = "password|passwd|passphrase|pwd|secret|token"
_WORDS = rf"{_NOUNS}|user-pw|user-id|(?:api|access|private|secret)[_-]?key"
_VALUE = r"(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s]+)"
_SETTING = re.compile(
    rf"(?i)(?P<word>(?<![\w-])[\w-]*(?:(?:{_WORDS})[\"']?\s*=|(?:{_NOUNS})[\"']?\s*:)\s*"
    rf"|[?&](?:user|username|login|key|auth)=){_VALUE}"
)
"""Of words that nothing but a credential is called by; in a query, of some more."""
_PROPERTY = re.compile(rf"(?i)(?P<word>(?<![\w-])[\w-]*(?:user|username|login|key|auth)[\"']?\s*=\s*){_VALUE}")
"""What names a credential in a pipeline or a connection string, and much else in prose."""


def redact(text: str) -> str:
    """Text without what looks like credentials.

    Of each URL the scheme and the host are left, and the path up to a segment that is more than a name. Of settings
    such as ``password=…`` the value goes. What is redacted already stays as it is.
    """
    return _SETTING.sub(_without_value, _URL.sub(_redacted, text))


def redact_pipeline(text: str) -> str:
    """A pipeline, or what a pipeline said: as :func:`redact`, and the values of ``user=``, ``key=`` and the like go."""
    return _PROPERTY.sub(_without_value, redact(text))


def redact_url(url: str) -> str:
    """A whole URL without credentials; see :func:`redact`."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{_public(rest)}"


def has_credentials(text: str) -> bool:
    """Whether text holds what looks like a password."""
    return bool(_SETTING.search(text)) or any("@" in url["rest"] for url in _URL.finditer(text))


def _redacted(found: re.Match[str]) -> str:
    rest = found["rest"].rstrip(_PUNCTUATION)
    return f"{found['scheme']}{found['slashes']}{_public(rest)}{found['rest'][len(rest) :]}"


def _without_value(found: re.Match[str]) -> str:
    """Quotes and full stops of the sentence around it stay."""
    value = found["value"]
    end = "" if value[0] in "\"'" else value[len(value.rstrip(_PUNCTUATION)) :]
    return f"{found['word']}{_HIDDEN}{end}"


def _public(rest: str) -> str:
    """What may be printed of a URL after its scheme."""
    before, at, rest = rest.rpartition("@")
    if re.search(r"[/?#]", before):  # an unescaped password, or one in the path: nobody knows where it ends
        return _HIDDEN
    place, *query = re.split(r"[?#]", rest, maxsplit=1)
    host, *segments = place.split("/")
    shown = [host if _HOST.fullmatch(host) else _HIDDEN]
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            shown.append(_HIDDEN)
            break
        shown.append(segment)
    return f"{_HIDDEN if before else ''}{at}{'/'.join(shown)}{'?' + _HIDDEN if query else ''}"
