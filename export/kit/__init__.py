"""The proof kit: what a device that is not here needs to run a network, and to show that it runs it as it should."""

from __future__ import annotations
