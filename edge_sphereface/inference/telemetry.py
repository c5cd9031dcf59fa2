"""Imports onnxruntime with its telemetry disabled. No other module imports the library.

The official onnxruntime wheels from 1.29 on send usage data to Microsoft by default: importing the library writes a
device identifier and an event store to the user's cache folder, and resolves ``mobile.events.data.microsoft.com`` about
ten seconds later. An environment variable disables all of it, but only if it is set before the library is loaded. The
library's own function suppresses later events only; older versions on Windows have nothing else.

References:
    onnxruntime's docs/Privacy.md, section "Disabling Telemetry".
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from edge_sphereface.errors import ProviderError
from edge_sphereface.extras import install_command

VARIABLE = "ORT_DISABLE_TELEMETRY"
"""Environment variable that disables telemetry if set before onnxruntime is loaded. Source: onnxruntime's
docs/Privacy.md."""
_LIBRARY = "onnxruntime"
_OFF = ("1", "true", "yes", "on")
"""Values of the variable that disable telemetry in onnxruntime 1.32, case-insensitive."""

LOADED_BEFORE = _LIBRARY in sys.modules and os.environ.get(VARIABLE, "").lower() not in _OFF
"""Whether the application loaded onnxruntime with its telemetry enabled before this package was imported."""

# Importing `edge_sphereface` runs this, so that it also applies to an application that imports onnxruntime afterwards,
# and to the processes that it starts.
os.environ[VARIABLE] = "1"


def import_onnxruntime(part: str = "") -> Any:
    """Import onnxruntime with its telemetry disabled.

    Args:
        part: name of a submodule, such as ``quantization``; empty for the library itself.

    Returns:
        The module.

    Raises:
        ProviderError: onnxruntime is not installed, or its native library cannot be loaded.
    """
    os.environ[VARIABLE] = "1"
    try:
        library = import_module(_LIBRARY)
    except ImportError as error:
        raise ProviderError(
            f"onnxruntime cannot be imported: {error}.",
            hint=f"install exactly one of its wheels: {install_command('cpu')} (or [gpu], [openvino], [cann])",
        ) from error
    library.disable_telemetry_events()
    return import_module(f"{_LIBRARY}.{part}") if part else library
