"""Keeps user names, passwords and tokens out of what is printed: messages, events, problems, names of sources."""

from __future__ import annotations

import re

_HIDDEN = "***"
_URL = re.compile(r"(?P<scheme>(?<![\w+.-])[\w+.-]+)(?P<slashes>://|:/(?=[^\n]{0,500}@))(?P<rest>[^\n]{0,500}@\S*|\S*)")
"""Up to the last ``@`` of the line: an unescaped password may hold any character, spaces too. A path
keeps one slash of two."""
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::\d{1,5})?")
_SEGMENT = re.compile(r"[\w.~-]{0,64}")
"""Of a path, if it holds no more than a name."""
_PUNCTUATION = ".,:;!)]}>'\"`"
_SETTING = re.compile(
    r"(?i)((?<![\w-])[\w-]*(?:(?:user|username|user-id|user-pw|login|password|passwd|passphrase|pwd|secret|token|key|auth)"
    r"[\"']?\s*=|(?:password|passwd|passphrase|pwd|secret|token)[\"']?\s*:)\s*)"
    r"(\"[^\"]*\"?|'[^']*'?|[^\s]+)"
)


def redact(text: str) -> str:
    """Text without what looks like credentials; in doubt, it goes.

    Of each URL the scheme and the host are left, and the path up to a segment that is more than a name. Of settings
    such as ``user=ann`` the value goes.
    """
    return _SETTING.sub(rf"\1{_HIDDEN}", _URL.sub(_redacted, text))


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
