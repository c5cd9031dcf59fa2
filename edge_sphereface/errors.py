"""Every error that this package raises on purpose.

.. code-block:: text

    EdgeSphereFaceError
    ├── ModelError                  a model file cannot be used
    │   ├── ModelNotFoundError      (also FileNotFoundError)
    │   └── ModelFormatError        (also ValueError)    not a model that this version reads
    ├── ProviderError               (also RuntimeError)  the requested execution provider is absent or does not run
    ├── ImageError                  (also ValueError)    unreadable, or not (H, W, 3) uint8 BGR
    ├── CropError                   (also ValueError)    not an aligned crop of the size that the model expects
    ├── LandmarksError              (also ValueError)    not five distinct finite points
    ├── EmbeddingError              (also ValueError)    NaN, zero, or of another size
    ├── FingerprintError            (also ValueError)    embeddings that are not comparable
    ├── NoFaceError                 (also LookupError)   a photograph that must show a face shows none
    ├── SeveralFacesError           (also LookupError)   a photograph that must show one face shows more
    ├── PhotographError             (also ValueError)    photographs that strict enrollment refuses
    ├── GalleryError
    │   ├── GalleryNotFoundError    (also FileNotFoundError)
    │   ├── GalleryFormatError      (also ValueError)    not a gallery, damaged, or of another version
    │   ├── GalleryBusyError        (also TimeoutError)  another process holds it
    │   ├── GalleryKeyError         (also PermissionError)  encrypted, and the key is missing or wrong
    │   ├── IdentityError           (also ValueError)    a name or metadata that cannot be stored
    │   └── IdentityNotFoundError   (also LookupError)   no identity of that name
    ├── ThresholdError              (also ValueError)    no threshold, or data that cannot support one
    ├── SourceError                 (also OSError)       a camera or stream cannot be opened, or failed
    ├── CameraError                 (also ValueError)    cameras of one group that cannot run together
    │   └── CameraNotFoundError     (also LookupError)   the group has no camera of that name
    ├── SinkError                   (also OSError)       events cannot be delivered to an output
    ├── TokenError                  (also ValueError)    a file of tokens, or a token, that cannot be used
    ├── TrackError                  (also LookupError)   no visible face has that track ID
    ├── PairsError                  (also ValueError)    a file of labeled pairs or landmarks has another format
    ├── CertificateError            (also ValueError)    a parity certificate that is missing, damaged or not met
    ├── KitError                    (also ValueError)    a proof kit, or outputs of a device, that cannot be used
    ├── AuditError                  (also OSError)       an audit cannot be written, or is not as it was left
    ├── CacheError                  (also OSError)       the cache folder cannot be used
    ├── DownloadError               (also OSError)
    │   ├── OfflineError            downloads are forbidden by EDGE_SPHEREFACE_OFFLINE
    │   └── ChecksumError           a file does not have its pinned SHA-256
    ├── ExtraError                  (also ImportError)   an optional dependency is not installed
    ├── RetentionError              (also OSError)       what is stored about people cannot be judged or deleted
    ├── StrangerError               (also OSError)       what is kept of strangers cannot be used
    │   ├── StrangerFormatError     (also ValueError)    a file that is damaged, or no store of strangers
    │   └── StrangerNotFoundError   (also LookupError)   no stranger of that ID
    └── OutputError                 (also OSError)       a result cannot be written

The message says what was expected and what came; the hint says what to do. ``str(error)`` holds both. Neither names a
command: a program looks its commands up by ``remedy``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "AuditError",
    "CacheError",
    "CameraError",
    "CameraNotFoundError",
    "CertificateError",
    "ChecksumError",
    "CropError",
    "DownloadError",
    "EdgeSphereFaceError",
    "EmbeddingError",
    "ExtraError",
    "FingerprintError",
    "GalleryBusyError",
    "GalleryError",
    "GalleryFormatError",
    "GalleryKeyError",
    "GalleryNotFoundError",
    "IdentityError",
    "IdentityNotFoundError",
    "ImageError",
    "KitError",
    "LandmarksError",
    "ModelError",
    "ModelFormatError",
    "ModelNotFoundError",
    "NoFaceError",
    "OfflineError",
    "OutputError",
    "PairsError",
    "PhotographError",
    "ProviderError",
    "RetentionError",
    "SeveralFacesError",
    "SinkError",
    "SourceError",
    "StrangerError",
    "StrangerFormatError",
    "StrangerNotFoundError",
    "ThresholdError",
    "TokenError",
    "TrackError",
]


Remedy: TypeAlias = Literal[
    "add-token",
    "allow-cpu-fallback",
    "bring-file",
    "bring-models",
    "calibrate-liveness",
    "calibrate-threshold",
    "change-detector",
    "change-engine",
    "check-cluster",
    "convert-liveness",
    "convert-model",
    "create-gallery",
    "delete-shared-files",
    "fetch-detector",
    "fix-threshold",
    "get-model",
    "give-key",
    "import-gallery",
    "keep-crops",
    "list-identities",
    "list-strangers",
    "make-key",
    "merge-identities",
    "overwrite",
    "quantize-model",
    "rebuild-gallery",
    "reduce-threads",
    "reduce-workers",
    "select-largest",
    "tune-model",
    "update-result",
    "use-tokens",
    "verify-conversion",
    "verify-model",
]
"""Stable names of what helps. ``edge_sphereface.cli.hints`` has the command or the option for each."""


class EdgeSphereFaceError(Exception):
    """Root of the error tree.

    Attributes:
        code: stable name of the kind of error, for machines.
        message: what was expected and what came.
        hint: what to do about it; empty if nothing is known.
        remedy: stable name of what the hint recommends, for programs that offer it as a command; None if there is none.
        file: path of the file that the remedy applies to; empty if it is not tied to a file.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", remedy: Remedy | None = None, file: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.remedy = remedy
        self.file = file

    def about(self, subject: object) -> Self:
        """The same error with its subject, such as the path of a photograph, in front of the message."""
        return type(self)(f"{subject}: {self.message}", hint=self.hint, remedy=self.remedy, file=self.file)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ModelError(EdgeSphereFaceError):
    """A model file cannot be used."""

    code = "model"


class ModelNotFoundError(ModelError, FileNotFoundError):
    """There is no file at the model's path."""

    code = "model-not-found"


class ModelFormatError(ModelError, ValueError):
    """The file is no model, or not one that this version reads."""

    code = "model-format"


class ProviderError(EdgeSphereFaceError, RuntimeError):
    """The requested execution provider is absent or does not run the model."""

    code = "provider"


class ImageError(EdgeSphereFaceError, ValueError):
    """An image cannot be read, or is not (H, W, 3) uint8 BGR."""

    code = "image"


class CropError(EdgeSphereFaceError, ValueError):
    """A crop is not an aligned crop of the size that the model expects."""

    code = "crop"


class LandmarksError(EdgeSphereFaceError, ValueError):
    """Landmarks are not five distinct finite points."""

    code = "landmarks"


class EmbeddingError(EdgeSphereFaceError, ValueError):
    """An embedding holds NaN, has length zero, or has another size."""

    code = "embedding"


class NoFaceError(EdgeSphereFaceError, LookupError):
    """A photograph that must show a face shows none."""

    code = "no-face"


class SeveralFacesError(EdgeSphereFaceError, LookupError):
    """A photograph that must show one face shows more."""

    code = "several-faces"


class FingerprintError(EdgeSphereFaceError, ValueError):
    """Embeddings were made by different models or preprocessing and cannot be compared."""

    code = "fingerprint"


class PhotographError(EdgeSphereFaceError, ValueError):
    """Photographs do not have the quality that strict enrollment asks for."""

    code = "photograph"


class GalleryError(EdgeSphereFaceError):
    """A gallery cannot be used as asked."""

    code = "gallery"


class GalleryNotFoundError(GalleryError, FileNotFoundError):
    """There is no gallery at this location."""

    code = "gallery-not-found"


class GalleryFormatError(GalleryError, ValueError):
    """A file is not a gallery, is damaged, or has another version."""

    code = "gallery-format"


class GalleryBusyError(GalleryError, TimeoutError):
    """Another process holds the gallery."""

    code = "gallery-busy"


class GalleryKeyError(GalleryError, PermissionError):
    """The gallery is encrypted, and the key is missing or wrong."""

    code = "gallery-key"


class IdentityError(GalleryError, ValueError):
    """A name or metadata cannot be stored."""

    code = "identity"


class IdentityNotFoundError(GalleryError, LookupError):
    """The gallery holds no identity of that name."""

    code = "identity-not-found"


class ThresholdError(EdgeSphereFaceError, ValueError):
    """There is no threshold, or the data cannot support the requested one."""

    code = "threshold"


class ExtraError(EdgeSphereFaceError, ImportError):
    """An optional dependency is not installed; the hint names the extra that brings it."""

    code = "extra"


class SourceError(EdgeSphereFaceError, OSError):
    """A camera or stream cannot be opened, or failed."""

    code = "source"


class CameraError(EdgeSphereFaceError, ValueError):
    """Cameras of one group that cannot run together, such as two of one name."""

    code = "camera"


class CameraNotFoundError(CameraError, LookupError):
    """The group has no camera of that name."""

    code = "camera-not-found"


class SinkError(EdgeSphereFaceError, OSError):
    """Events cannot be delivered to an output."""

    code = "sink"


class TokenError(EdgeSphereFaceError, ValueError):
    """A file of tokens, or a token, cannot be used."""

    code = "tokens"


class TrackError(EdgeSphereFaceError, LookupError):
    """No visible face has that track ID."""

    code = "track"


class PairsError(EdgeSphereFaceError, ValueError):
    """A file of labeled pairs or of landmarks has another format."""

    code = "pairs"


class CertificateError(EdgeSphereFaceError, ValueError):
    """A parity certificate is missing, damaged or not met."""

    code = "certificate"


class KitError(EdgeSphereFaceError, ValueError):
    """A proof kit, or the outputs of a device that are checked with it, cannot be used."""

    code = "kit"


class AuditError(EdgeSphereFaceError, OSError):
    """An audit cannot be written, or is not as this program left it."""

    code = "audit"


class CacheError(EdgeSphereFaceError, OSError):
    """The cache folder cannot be used."""

    code = "cache"


class DownloadError(EdgeSphereFaceError, OSError):
    """A file could not be downloaded."""

    code = "download"


class OfflineError(DownloadError):
    """Downloads are forbidden by ``EDGE_SPHEREFACE_OFFLINE``."""

    code = "offline"


class ChecksumError(DownloadError):
    """A file does not have its pinned SHA-256."""

    code = "checksum"


class RetentionError(EdgeSphereFaceError, OSError):
    """What is stored about people cannot be judged or deleted as asked."""

    code = "retention"


class StrangerError(EdgeSphereFaceError, OSError):
    """What is kept of strangers cannot be used."""

    code = "strangers"


class StrangerFormatError(StrangerError, ValueError):
    """A file is damaged, or is no store of strangers."""

    code = "stranger-format"


class StrangerNotFoundError(StrangerError, LookupError):
    """There is no stranger of that ID."""

    code = "stranger-not-found"


class OutputError(EdgeSphereFaceError, OSError):
    """A result cannot be written."""

    code = "output"
