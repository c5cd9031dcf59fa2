"""One file that holds a network for ncnn: its weights, its description and a header with the specification.

.. code-block:: text

    weights (.bin) | network (.param) | header (JSON) | SHA-256 of the header (32)
    | bytes of the header (8, little endian) | ESFNCNN1

The weights come first, so that ncnn reads them where they are. The header holds the SHA-256 of weights and network, so
no byte of the file changes unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Annotated, Final, Literal

from edge_sphereface.errors import ModelFormatError, ModelNotFoundError
from edge_sphereface.model.manifest import NCNN_SUFFIX
from edge_sphereface.model.ncnn_network import MAX_NETWORK_BYTES, NcnnNetwork, read_network
from edge_sphereface.model.spec import ModelSpec
from edge_sphereface.storage.record import Between, Record, Sha256
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    import hashlib
    from pathlib import Path

REWRITE = "ncnn"
"""Name of the rewrite in the specification of such a model."""
KIND: Final = "edge_sphereface.ncnn_model"

_MAGIC = b"ESFNCNN1"
_DIGEST_BYTES, _COUNT_BYTES = 32, 8
_MAX_HEADER_BYTES = 1 << 20
_MAX_BYTES = (1 << 31) - 1
_BLOCK = 1 << 20
_HINT = "the file is damaged or of another kind; make or fetch it again"
_FILE = RegularFile(
    what="model file",
    limit=_MAX_BYTES,
    error=ModelFormatError,
    missing=ModelNotFoundError,
    hint="check the path; make it from the ONNX file, or fetch it",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NcnnHeader(Record):
    """What the file holds.

    Attributes:
        kind: identifies the header.
        spec: specification of the model.
        weights_bytes: size of the weights.
        weights_sha256: SHA-256 of the weights in hexadecimal.
        network_bytes: size of the network.
        network_sha256: SHA-256 of the network in hexadecimal.
        schema_version: version of this record.
    """

    record_name = "The header of the model for ncnn"
    record_error = ModelFormatError
    record_hint = _HINT
    record_bytes = _MAX_HEADER_BYTES

    kind: Literal["edge_sphereface.ncnn_model"] = KIND
    spec: ModelSpec
    weights_bytes: Annotated[int, Between(1, _MAX_BYTES)]
    weights_sha256: Sha256
    network_bytes: Annotated[int, Between(1, MAX_NETWORK_BYTES)]
    network_sha256: Sha256
    schema_version: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NcnnModel:
    """A checked model for ncnn. Its weights stay in the file, at its beginning.

    Attributes:
        spec: specification of the model.
        network: the network.
    """

    spec: ModelSpec
    network: NcnnNetwork


def is_ncnn_file(path: Path) -> bool:
    """Whether a file is a model for ncnn, by its name."""
    return path.suffix.lower() == NCNN_SUFFIX


def refuse_misnamed(path: Path) -> None:
    """Refuse a model for ncnn without the suffix that tells it from an ONNX file.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelFormatError: the file ends as a model for ncnn does.
    """
    with _FILE.open(path) as stream:
        stream.seek(max(0, stream.seek(0, 2) - len(_MAGIC)))
        is_ncnn = stream.read(len(_MAGIC)) == _MAGIC
    if is_ncnn:
        raise ModelFormatError(
            f"Expected an ONNX model, but {path} is a model for ncnn under another suffix than {NCNN_SUFFIX}.",
            hint=f"rename it to {path.with_suffix(NCNN_SUFFIX).name}",
        )


def read_ncnn_model(path: Path) -> NcnnModel:
    """Read and check a model for ncnn, so that ncnn can load it safely.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelFormatError: the file is damaged, or holds another network.
    """
    with _FILE.open(path) as stream:
        size = stream.seek(0, 2)
        header, end = _read_header(stream, size, path)
        start = header.weights_bytes
        if start + header.network_bytes != end:
            raise _refusal(
                path, f"its header counts {start} bytes of weights and {header.network_bytes} of network, it has {end}"
            )
        stream.seek(start)
        content = stream.read(header.network_bytes)
        if _digest(content).hexdigest() != header.network_sha256:
            raise _refusal(path, "its network has another SHA-256 than its header says")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _refusal(path, "its network is not text in UTF-8") from error
        network = read_network(text, header.spec)
        if network.weights_bytes != start:
            raise _refusal(path, f"its network takes {network.weights_bytes} bytes of weights, and it has {start}")
        for block in network.blocks:
            stream.seek(block.start)
            if stream.read(len(block.tag)) != block.tag:
                raise _refusal(path, f"its weights are not of precision {header.spec.precision}")
        if _sha256(stream, start) != header.weights_sha256:
            raise _refusal(path, "its weights have another SHA-256 than its header says")
    return NcnnModel(spec=header.spec, network=network)


def write_ncnn_model(stream: IO[bytes], spec: ModelSpec, network: str, weights: IO[bytes]) -> None:
    """Write a model for ncnn.

    Args:
        stream: file to write to.
        spec: specification of the model.
        network: content of the file ``.param``.
        weights: the file ``.bin``.

    Raises:
        ModelFormatError: the network or its weights are not those of the specification.
    """
    checked = read_network(network, spec)
    size = weights.seek(0, 2)
    if size != checked.weights_bytes:
        raise ModelFormatError(
            f"Expected {checked.weights_bytes} bytes of weights for the network, got {size}.", hint="make them again"
        )
    weights.seek(0)
    while block := weights.read(_BLOCK):
        stream.write(block)
    content = checked.text.encode("ascii")
    header = NcnnHeader(
        spec=spec,
        weights_bytes=size,
        weights_sha256=_sha256(weights, size),
        network_bytes=len(content),
        network_sha256=_digest(content).hexdigest(),
    )
    record = header.to_json().encode()
    stream.write(content + record + _digest(record).digest() + len(record).to_bytes(_COUNT_BYTES, "little") + _MAGIC)


def _read_header(stream: IO[bytes], size: int, path: Path) -> tuple[NcnnHeader, int]:
    """The header, and its position."""
    tail = _DIGEST_BYTES + _COUNT_BYTES + len(_MAGIC)
    stream.seek(max(0, size - tail))
    last = stream.read(tail)
    if not last.endswith(_MAGIC) or len(last) < tail:
        raise _refusal(path, f"it does not end in {_MAGIC.decode()}")
    count = int.from_bytes(last[_DIGEST_BYTES : -len(_MAGIC)], "little")
    end = size - tail - count
    if count > _MAX_HEADER_BYTES or end < 0:
        raise _refusal(path, f"its header has {count} bytes")
    stream.seek(end)
    content = stream.read(count)
    if _digest(content).digest() != last[:_DIGEST_BYTES]:
        raise _refusal(path, "its header has another SHA-256 than the file says")
    return NcnnHeader.from_json(content), end


def _digest(content: bytes = b"") -> hashlib._Hash:
    import hashlib  # loads OpenSSL, 3.5 MiB that embedding alone does not need

    return hashlib.sha256(content)


def _sha256(stream: IO[bytes], size: int) -> str:
    """SHA-256 of the first bytes of a file."""
    digest = _digest()
    stream.seek(0)
    while size and (block := stream.read(min(size, _BLOCK))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


def _refusal(path: Path, reason: str) -> ModelFormatError:
    return ModelFormatError(f"{path} is not a model for ncnn: {reason}.", hint=_HINT)
