"""Make a proof kit: forms of a network, golden crops, expected outputs, commands of the vendors, and a manifest."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import onnx

from edge_sphereface import __version__
from edge_sphereface.errors import ModelFormatError, OutputError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import SessionConfig, open_session
from edge_sphereface.kit.manifest import (
    MANIFEST,
    KitCrop,
    KitFile,
    KitForm,
    KitManifest,
    KitMistake,
    Precision,
)
from edge_sphereface.metrics import agreement
from edge_sphereface.model.certificate import CONVERSION_BOUNDS, Bounds, device_bounds
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.model.ncnn_file import is_ncnn_file
from edge_sphereface.model.spec import LAYOUT_IMAGE, LAYOUT_NCHW, Layout
from edge_sphereface.storage.files import PRIVATE, SHARED, atomic_write
from export.errors import ParityError
from export.graph import OUTPUT_NAME, change_layout
from export.kit.device_files import device_files
from export.kit.prepared import mistaken_batches
from export.kit.reference import expected_outputs
from export.parity import normalize_plainly
from export.plain import open_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, UInt8Array
    from export.kit.crops import GoldenCrop

FloatForm: TypeAlias = Literal["float32-b1", "float32", "float32-image"]
FLOAT_FORMS: dict[FloatForm, tuple[Layout, int | None]] = {
    "float32-b1": (LAYOUT_NCHW, 1),
    "float32": (LAYOUT_NCHW, None),
    "float32-image": (LAYOUT_IMAGE, None),
}
"""Layout and fixed batch of each float form. Compilers for NPUs take the first."""
INT8_BOUNDS = Bounds(max_abs_error=0.35, min_cosine=0.95)
"""Bounds of a vendor's own quantization of the float form. On the golden crops, that of this project reaches a cosine
of 0.993 and an error of 0.11; crops with red and blue swapped reach a cosine of 0.33."""
_REDUCED: dict[str, Precision] = {"float16": "float16", "int8": "int8"}
_PRIVATE_FOLDER, _SHARED_FOLDER = 0o700, 0o755
_ONE_THREAD = SessionConfig(provider="cpu", threads=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KitOptions:
    """Options of a kit.

    Attributes:
        float_forms: float forms that the kit holds, the default of checks first.
        checkpoint: weights that the model was made from; None to look for the file that the project knows.
        is_private: whether the crops show people who did not publish their faces, so that only this user may read them.
    """

    float_forms: tuple[FloatForm, ...] = tuple(FLOAT_FORMS)
    checkpoint: Path | None = None
    is_private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKit:
    """A kit that was made.

    Attributes:
        folder: folder of the kit.
        tar: path of the archive of the folder; None if none was asked for.
        manifest_sha256: SHA-256 of the manifest in hexadecimal.
        manifest: the manifest.
    """

    folder: Path
    tar: Path | None
    manifest_sha256: str
    manifest: KitManifest


class _Folder:
    """Files of a kit that is being made."""

    def __init__(self, place: Path, mode: int) -> None:
        self.place = place
        self._mode = mode
        self._written: dict[str, KitFile] = {}

    def write(self, path: str, content: bytes, *, executable: bool = False) -> str:
        """Write a file, and list it; returns its path."""
        target = self.place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(self._mode | (self._mode >> 2 & 0o111 if executable else 0))
        self._written[path] = KitFile(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        return path

    def write_array(self, path: str, values: np.ndarray[Any, Any]) -> str:
        """Write a ``.npy`` file; returns its path."""
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        return self.write(path, stream.getvalue())

    def has(self, path: str) -> bool:
        """Whether a file was written."""
        return path in self._written

    @property
    def files(self) -> tuple[KitFile, ...]:
        """The files, by path."""
        return tuple(self._written[path] for path in sorted(self._written))


def make_kit(
    models: Sequence[Path],
    folder: Path,
    crops: Sequence[GoldenCrop],
    options: KitOptions,
    *,
    tar: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> MadeKit:
    """Make a kit. The folder appears when it is complete.

    Args:
        models: plain float model that ``convert`` made, then its forms of reduced precision.
        folder: folder of the kit; it must not exist, or be empty.
        crops: golden crops.
        options: options of the kit.
        tar: write ``FOLDER.tar`` too, which depends on nothing but the files.
        note: called with a description of each step.

    Raises:
        ModelFormatError: the first model is not a plain float model, or another is not made from it.
        ParityError: the float model's outputs are not those of its checkpoint.
        OutputError: the folder or the archive exists, or cannot be written.
    """
    archive = folder.with_name(f"{folder.name}.tar") if tar and folder.name else None
    _require_new(folder, archive)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            place = Path(temporary) / "kit"
            place.mkdir()
            made = _Folder(place, PRIVATE if options.is_private else SHARED)
            manifest = _fill(made, models, crops, options, note)
            content = f"{manifest.to_json()}\n".encode()
            (place / MANIFEST).write_bytes(content)
            (place / MANIFEST).chmod(PRIVATE if options.is_private else SHARED)
            for part in (place, *place.rglob("*")):
                if part.is_dir():
                    part.chmod(_PRIVATE_FOLDER if options.is_private else _SHARED_FOLDER)
            packed = Path(temporary) / "kit.tar"
            if archive is not None:
                with atomic_write(packed, mode=PRIVATE if options.is_private else SHARED) as stream:
                    write_tar(place, stream, name=Path(folder.name))
            if folder.is_dir():
                folder.rmdir()
            place.rename(folder)
            if archive is not None:
                packed.rename(archive)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or error}.", hint="check the path and the disk"
        ) from error
    return MadeKit(folder=folder, tar=archive, manifest_sha256=hashlib.sha256(content).hexdigest(), manifest=manifest)


def _require_new(folder: Path, archive: Path | None) -> None:
    if folder.name in ("", ".."):
        raise OutputError(f"Expected the name of a new folder, got {folder}.", hint="name the folder of the kit")
    if archive is not None and (archive.exists() or archive.is_symlink()):
        raise OutputError(f"{archive} exists.", hint="name another folder, or delete the archive")
    if folder.is_symlink():
        raise OutputError(f"{folder} is a symbolic link.", hint="name the folder itself")
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise OutputError(f"{folder} exists; a kit goes into a new folder.", hint="name another folder, or delete it")
    if not folder.absolute().parent.is_dir():
        raise OutputError(f"There is no folder {folder.parent} for {folder.name}.", hint="create it first")


def _fill(
    made: _Folder,
    models: Sequence[Path],
    crops: Sequence[GoldenCrop],
    options: KitOptions,
    note: Callable[[str], None],
) -> KitManifest:
    embedder, graph = open_plain(models[0], "cpu")
    spec = replace(embedder.spec, input_layout=LAYOUT_NCHW)
    pixels = np.stack([crop.pixels for crop in crops])
    note(f"computing the outputs of {len(crops)} golden crops")
    reference, expected = expected_outputs(models[0], embedder, pixels, options.checkpoint, note)
    outputs = made.write_array("expected/outputs.npy", expected)
    embeddings = made.write_array("expected/embeddings.npy", expected / np.linalg.norm(expected, axis=1, keepdims=True))
    forms = [_float_form(made, graph, spec, name, outputs, expected, pixels) for name in options.float_forms]
    forms += [_reduced_form(made, path, embedder, pixels) for path in models[1:]]
    note("computing the outputs of the usual mistakes")
    mistakes = _mistakes(made, embedder, graph, pixels)
    crop_entries, uint8, float32 = _crops(made, crops, pixels, spec)
    for file in device_files(spec, forms):
        made.write(file.path, file.content, executable=file.is_program)
    return KitManifest(
        made_by=__version__,
        spec=spec,
        fingerprint=Fingerprint.of(spec).digest,
        forms=tuple(forms),
        crops=crop_entries,
        crops_uint8=uint8,
        crops_float32=float32,
        reference=reference,
        outputs=outputs,
        embeddings=embeddings,
        bounds={
            "float32": device_bounds("float32"),
            "float16": device_bounds("float16"),
            "int8": INT8_BOUNDS,
        },
        mistakes=mistakes,
        files=made.files,
    )


def _float_form(
    made: _Folder,
    graph: onnx.ModelProto,
    spec: ModelSpec,
    name: FloatForm,
    outputs: str,
    expected: Float32Array,
    pixels: UInt8Array,
) -> KitForm:
    layout, batch = FLOAT_FORMS[name]
    model = change_layout(graph, replace(spec, input_layout=layout), batch=batch)
    file = made.write(f"forms/{name}.onnx", model.SerializeToString(deterministic=True))
    computed = Embedder(made.place / file, batch_size=batch or 16, session=_ONE_THREAD).forward(pixels)
    found = agreement(expected, computed)
    if not CONVERSION_BOUNDS.holds(found):
        raise ParityError(
            f"The form {name} does not give the expected outputs: max abs error {found.max_abs_error:.2e}, min cosine "
            f"{found.min_cosine:.9f}.",
            hint="verify the model with its checkpoint",
        )
    return KitForm(
        name=name,
        file=file,
        precision="float32",
        layout=layout,
        batch=batch,
        input_name=model.graph.input[0].name,
        output_name=OUTPUT_NAME,
        outputs=outputs,
        bounds=device_bounds("float32"),
    )


def _reduced_form(made: _Folder, path: Path, original: Embedder, pixels: UInt8Array) -> KitForm:
    """Copy a form of reduced precision, with its own outputs on this machine."""
    if is_ncnn_file(path):
        raise ModelFormatError(
            f"Expected an ONNX model, but {path} is for ncnn: kits hold ONNX models only.",
            hint="leave it out; it is verified on the device by its certificate",
            remedy="verify-model",
            file=str(path),
        )
    embedder = Embedder(path, session=_ONE_THREAD)
    spec, precision = embedder.spec, _REDUCED.get(embedder.spec.precision)
    if precision is None:
        raise ModelFormatError(
            f"Expected a form of reduced precision, but {path} has the precision {spec.precision:.80}.",
            hint="name the plain float model first, then what was quantized from it",
        )
    Fingerprint.of(original.spec).require_kin(Fingerprint.of(spec), f"The model {path}")
    name = precision if spec.quantization is None else f"{precision}-{spec.quantization.target}"
    if made.has(f"forms/{name}.onnx"):
        raise ModelFormatError(f"{path} is a second form {name} of the kit.", hint="name one form of each kind")
    file = made.write(f"forms/{name}.onnx", _read(path))
    model = onnx.load(path, load_external_data=False)
    return KitForm(
        name=name,
        file=file,
        precision=precision,
        layout=spec.input_layout,
        batch=None,
        input_name=model.graph.input[0].name,
        output_name=model.graph.output[0].name,
        outputs=made.write_array(f"expected/{name}.npy", embedder.forward(pixels)),
        bounds=device_bounds(precision),
    )


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read()


def _mistakes(made: _Folder, embedder: Embedder, graph: onnx.ModelProto, pixels: UInt8Array) -> tuple[KitMistake, ...]:
    """Outputs of the network for crops that each usual mistake prepares."""
    spec = replace(embedder.spec, input_layout=LAYOUT_NCHW)
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "planes.onnx"
        model.write_bytes(change_layout(graph, spec).SerializeToString())
        session, _ = open_session(model, _ONE_THREAD)
        found = []
        for number, prepared in enumerate(mistaken_batches(pixels, spec)):
            rows = [session.run(None, {"input": crop[None]})[0][0] for crop in prepared.batch]
            path = f"expected/mistakes/{number:02d}-{'-and-'.join(prepared.names)}.npy"
            found.append(
                KitMistake(names=prepared.names, how=prepared.how, outputs=made.write_array(path, np.stack(rows)))
            )
        del session
    return tuple(found)


def _crops(
    made: _Folder, crops: Sequence[GoldenCrop], pixels: UInt8Array, spec: ModelSpec
) -> tuple[tuple[KitCrop, ...], str, str]:
    """Write the crops in every layout that tools of vendors read."""
    planes = normalize_plainly(pixels, spec)
    entries = tuple(
        KitCrop(
            source=crop.source,
            person=crop.person,
            uint8=made.write(f"crops/uint8/{number:04d}.bin", pixels[number].tobytes()),
            float32=made.write(f"crops/float32/{number:04d}.bin", planes[number].astype("<f4").tobytes()),
        )
        for number, crop in enumerate(crops)
    )
    return entries, made.write_array("crops/uint8.npy", pixels), made.write_array("crops/float32.npy", planes)


def write_tar(folder: Path, stream: IO[bytes], *, name: Path) -> None:
    """Write a folder as an archive that depends on nothing but names, modes and contents of the files.

    Args:
        folder: the folder.
        stream: where to write.
        name: path that the folder has in the archive.
    """
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in (folder, *sorted(folder.rglob("*"))):
            entry = tarfile.TarInfo((name / path.relative_to(folder)).as_posix())
            status = path.stat()
            entry.mode = status.st_mode & 0o777
            if path.is_dir():  # else whoever unpacks a private kit makes folders that others may read
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
                continue
            entry.size = status.st_size
            with path.open("rb") as content:
                archive.addfile(entry, content)
