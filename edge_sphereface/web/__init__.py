"""Serves a page with the live picture, the names of the faces and the gallery, and the HTTP interface: extra ``web``.

.. code-block:: text

    stream ─► live_view ─────► app ───────────────► server ─► browser (page/)
              newest frame     access: token, hosts        └► programs
                               api: operations
    pictures ─► work_queue ─► picture_service ┘
    events ───► event_log ────────────────────┘

Each public name loads what it needs when it is first used, so that the command line starts without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sphereface.web.server import HttpInterface, PageView

__all__ = ["HttpInterface", "PageView"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edge_sphereface.web import server

    value = getattr(server, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
