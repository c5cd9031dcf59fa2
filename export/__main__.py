"""Entry point of ``python -m export``."""

from __future__ import annotations

import sys

from edge_sphereface.cli.runner import run
from export.commands import build_parser

sys.exit(run(build_parser()))
