"""Graph rewrites. Each module has one plain function from model to model that preserves the embeddings.

``weights`` reads and rebuilds models. ``fast`` applies the rewrites for speed and writes the result only if it is equal
to its source and measurably faster.
"""

from export.rewrite.equalize import equalize_channels
from export.rewrite.prelu import decompose_prelu
from export.rewrite.winograd import to_winograd

__all__ = ["decompose_prelu", "equalize_channels", "to_winograd"]
