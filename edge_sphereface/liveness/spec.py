"""``LivenessSpec``: the contract between the ONNX file of a liveness network and the runtime, in its metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.storage.record import Between, Record, Sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_sphereface.errors import Remedy

METADATA_KEY: Final = "edge_sphereface.liveness_spec"
"""Key of the JSON value in ``ModelProto.metadata_props``."""
HINT: Final = "convert the weights of a liveness network, on a workstation"
REMEDY: Final[Remedy] = "convert-liveness"
"""What helps against a file that is no liveness model."""
_MAX_SIDE: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessSpec(Record):
    """Everything that the runtime must know about a liveness network.

    Attributes:
        architecture: ``MiniFASNet`` or ``MiniFASNetSE``.
        side: height and width of the crop in pixels.
        crop_scale: size of the crop as a multiple of the face's box.
        live_class: index of the class of live faces.
        classes: number of classes.
        source_file: name of the file of weights.
        source_sha256: its SHA-256 in hexadecimal.
        exporter_version: version of the exporter that wrote the file.
        schema_version: version of this record.
    """

    record_name = "The specification of the liveness model"
    record_error = ModelFormatError
    record_hint = HINT
    record_remedy = REMEDY

    architecture: str
    side: Annotated[int, Between(16, _MAX_SIDE)]
    crop_scale: Annotated[float, Between(1, 10)]
    live_class: Annotated[int, Between(0, 99)]
    classes: Annotated[int, Between(2, 100)]
    source_file: str
    source_sha256: Sha256
    exporter_version: str
    schema_version: Literal[1] = 1

    def _faults(self) -> Iterator[str]:
        if self.live_class >= self.classes:
            yield f"live_class must be below {self.classes}, the number of classes, not {self.live_class}"

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> LivenessSpec:
        """Read the specification from a model's metadata.

        Raises:
            ModelFormatError: the metadata holds no specification, or one that this version cannot read.
        """
        text = metadata.get(METADATA_KEY)
        if text is None:
            raise ModelFormatError(
                f"The ONNX file has no metadata {METADATA_KEY!r}: it is no liveness model.", hint=HINT, remedy=REMEDY
            )
        return cls.from_json(text)
