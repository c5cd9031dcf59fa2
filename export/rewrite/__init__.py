"""Graph rewrites: one a file, each a plain function from model to model that changes no embedding.

``weights`` takes a model apart and puts it together again; ``fast`` applies what is faster and writes the result only
if it is equal and faster, measured.
"""

from export.rewrite.equalize import equalize_channels
from export.rewrite.prelu import decompose_prelu
from export.rewrite.winograd import to_winograd

__all__ = ["decompose_prelu", "equalize_channels", "to_winograd"]
