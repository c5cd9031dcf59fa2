"""Entry point of ``edge-sphereface``."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from edge_sphereface._version import __version__
from edge_sphereface.cli import (
    audit_command,
    completion,
    device_command,
    enroll_command,
    expire_command,
    face_commands,
    fetch_model_command,
    folder_command,
    gallery_commands,
    identify_command,
    ignore_command,
    kit_command,
    liveness_calibration_command,
    liveness_command,
    model_commands,
    remove_command,
    serve_command,
    service_command,
    strangers_command,
    threshold_command,
    tokens_command,
    tune_command,
    watch_command,
)
from edge_sphereface.cli.configuration import asks_for_json
from edge_sphereface.cli.runner import Parser, add_help_command, run

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPENCV_THREADS = ("frame-reader", "pictures", "recorder", "snapshots", "strangers")
"""One that is still inside OpenCV when Python ends is unwound through C++ code, which ends the process by SIGABRT."""


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="edge-sphereface",
        description="SphereFace face recognition on edge devices. Nothing leaves the machine unless you ask for it.",
        epilog="Each command has --help with an example, and --json for machines.",
    )
    parser.add_argument("--version", action="version", version=f"edge-sphereface {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    face_commands.add_commands(commands)
    enroll_command.add_command(commands)
    identify_command.add_command(commands)
    ignore_command.add_command(commands)
    gallery_commands.add_command(commands)
    threshold_command.add_command(commands)
    liveness_command.add_command(commands)
    liveness_calibration_command.add_command(commands)
    folder_command.add_command(commands)
    model_commands.add_commands(commands)
    fetch_model_command.add_command(commands)
    tune_command.add_command(commands)
    device_command.add_command(commands)
    kit_command.add_command(commands)
    watch_command.add_command(commands)
    strangers_command.add_command(commands)
    expire_command.add_command(commands)
    remove_command.add_command(commands)
    audit_command.add_command(commands)
    serve_command.add_command(commands)
    tokens_command.add_command(commands)
    service_command.add_command(commands)
    completion.add_command(parser)
    add_help_command(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run(build_parser(), argv, asks_for_json=asks_for_json)


def entry_point() -> None:
    """What the installed command calls."""
    code = main()
    if any(thread.name in _OPENCV_THREADS for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    entry_point()
