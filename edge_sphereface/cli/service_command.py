"""The command ``service``: files that run ``watch`` under systemd."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import json_option
from edge_sphereface.cli.runner import Outcome

if TYPE_CHECKING:
    from edge_sphereface.cli.runner import Commands

_FILES = {"unit": "edge-sphereface@.service", "settings": "watch.toml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFile:
    """Result of ``service``.

    Attributes:
        file: kind of the file: ``unit`` or ``settings``.
        text: content of the file.
    """

    file: str
    text: str


def add_command(commands: Commands) -> None:
    """Add ``service``."""
    parser = commands.add_parser(
        "service",
        parents=[json_option()],
        help="print a systemd unit for watch, and sample settings",
        description="Print the template of a systemd unit that runs watch, one service for each camera, or sample "
        "settings of such a service. The unit runs /opt/edge-sphereface/bin/edge-sphereface as the user "
        "edge-sphereface and reads /etc/edge-sphereface/CAMERA.toml.",
        epilog="example: edge-sphereface service unit | sudo tee /etc/systemd/system/edge-sphereface@.service",
    )
    parser.add_argument("file", choices=tuple(_FILES), help="unit: the template unit; settings: a file for --config")
    parser.set_defaults(run=lambda arguments: _service(arguments.file))


def _service(file: str) -> Outcome:
    text = service_text(file)
    return Outcome(ServiceFile(file=file, text=text), text.rstrip("\n"))


def service_text(file: str) -> str:
    """The content of a file: ``unit`` or ``settings``."""
    return (files(__package__) / "service" / _FILES[file]).read_text(encoding="utf-8")
