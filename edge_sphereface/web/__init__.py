"""A page with the live picture, the faces' names and the gallery: extra ``web``.

.. code-block:: text

    stream ─► live_view ─► app ─► server ─► browser (page/)
              newest       access: token, hosts
"""

from edge_sphereface.web.server import PageView

__all__ = ["PageView"]
