"""Serves a page with the live picture, the names of the faces and the gallery: extra ``web``.

.. code-block:: text

    stream ─► live_view ─────► app ───────────────► server ─► browser (page/)
              newest frame     access: token, hosts
"""

from edge_sphereface.web.server import HttpInterface, PageView

__all__ = ["HttpInterface", "PageView"]
