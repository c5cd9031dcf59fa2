"""What a report says in words. It is sent to others, so it takes over no text that may hold a path or a name.

Messages of errors, names of files and findings of the cache are such texts: they show folders, which are often named
after people. The report has a sentence of its own for each kind of error instead, and the names of forms are made from
what is in the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.errors import (
    CertificateError,
    ExtraError,
    ModelFormatError,
    ModelNotFoundError,
    ProviderError,
)
from edge_sphereface.storage.bounded_json import shown

if TYPE_CHECKING:
    from edge_sphereface.doctor import Finding
    from edge_sphereface.errors import EdgeSphereFaceError
    from edge_sphereface.model.spec import ModelSpec

_REASONS: tuple[tuple[type[EdgeSphereFaceError], str], ...] = (
    (ModelNotFoundError, "there is no model file"),
    (ModelFormatError, "the file is not a model that this version reads"),
    (CertificateError, "its certificate cannot be read, or belongs to another file"),
    (ProviderError, "the execution provider is absent, or does not run it"),
    (ExtraError, "an optional package is not installed"),
)
_MADE_OF_FACTS = ("python", "architecture", "memory", "threads", "telemetry", "providers", "opencv")
"""Checks whose messages hold nothing but versions, numbers and names of processors and packages."""


def form_name(spec: ModelSpec, sha256: str) -> str:
    """Name of a form of a network, the same on every device: precision, rewrites and the start of its SHA-256.

    Args:
        spec: specification of the model.
        sha256: SHA-256 of the file in hexadecimal.
    """
    return f"{shown(' '.join((spec.precision, *spec.rewrites)))} ({sha256[:8]})"


def unread_form(number: int) -> str:
    """Name of a model that could not be read, by its place among the models."""
    return f"model {number}"


def reason_of(error: EdgeSphereFaceError) -> str:
    """Why something failed, without the details of the message."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return f"it failed with {type(error).__name__}"


def message_of(finding: Finding, *, imports_onnxruntime: bool) -> str:
    """What a check of the machine found, without paths; empty if the check says no more than its status.

    Args:
        finding: result of the check.
        imports_onnxruntime: whether onnxruntime can be imported; the message of a failed import names files.
    """
    if finding.status == "ok":
        return ""
    if finding.check == "cache":
        return "the folder is temporary, or cannot be used"
    if finding.check == "detectors":
        return "the file of YuNet is damaged" if finding.status == "fail" else "no face detector is on this machine"
    if finding.check == "onnxruntime":
        return finding.message if imports_onnxruntime else "it cannot be imported"
    return finding.message if finding.check in _MADE_OF_FACTS else ""
