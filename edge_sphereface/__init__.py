"""SphereFace face embeddings on cameras: detect, align, embed and compare through onnxruntime.

Importing this package loads neither numpy nor OpenCV nor onnxruntime; each public name loads what it needs when it is
first used. It turns off onnxruntime's telemetry, see :mod:`edge_sphereface.inference.telemetry`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import edge_sphereface.inference.telemetry  # noqa: F401 -- before anything loads onnxruntime
from edge_sphereface._version import __version__

if TYPE_CHECKING:
    from edge_sphereface.alignment import align, align_for
    from edge_sphereface.compare import Verification, cosine_similarity, verify
    from edge_sphereface.detection import Detector, open_detector
    from edge_sphereface.errors import EdgeSphereFaceError
    from edge_sphereface.gallery import Gallery, open_gallery
    from edge_sphereface.image import load_image
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.inference.session import SessionConfig
    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.pipeline import FacePipeline, load_pipeline
    from edge_sphereface.stream import FaceStream, StreamSettings
    from edge_sphereface.stream.outputs.frames.drawing import draw_faces
    from edge_sphereface.types import EmbeddedFace, Face

__all__ = [
    "Detector",
    "EdgeSphereFaceError",
    "EmbeddedFace",
    "Embedder",
    "Face",
    "FacePipeline",
    "FaceStream",
    "Fingerprint",
    "Gallery",
    "ModelSpec",
    "SessionConfig",
    "StreamSettings",
    "Verification",
    "__version__",
    "align",
    "align_for",
    "cosine_similarity",
    "draw_faces",
    "load_image",
    "load_pipeline",
    "open_detector",
    "open_gallery",
    "verify",
]

_HOME = {
    "Detector": "detection",
    "EdgeSphereFaceError": "errors",
    "EmbeddedFace": "types",
    "Embedder": "inference.embedder",
    "Face": "types",
    "FacePipeline": "pipeline",
    "FaceStream": "stream",
    "Fingerprint": "model.fingerprint",
    "Gallery": "gallery",
    "ModelSpec": "model.spec",
    "SessionConfig": "inference.session",
    "StreamSettings": "stream",
    "Verification": "compare",
    "align": "alignment",
    "align_for": "alignment",
    "cosine_similarity": "compare",
    "draw_faces": "stream.outputs.frames.drawing",
    "load_image": "image",
    "load_pipeline": "pipeline",
    "open_detector": "detection",
    "open_gallery": "gallery",
    "verify": "compare",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
