"""Every file that is read, damaged in every way: a result or our error, in bounded time and memory.

``EDGE_SPHEREFACE_FUZZ=2000 python -m pytest tests/test_fuzz.py`` tries that many damaged files of each kind.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
import time
import warnings
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

if sys.platform == "linux":
    import resource

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.ascend import imported, published
from benchmarks.ascend.formats.recording import Stated
from benchmarks.ascend.row import LedgerRow
from benchmarks.recorded import read_records
from benchmarks.result_file import load_result
from edge_sphereface.audit import AuditLog, check_audit
from edge_sphereface.batch.earlier_result import EarlierResult
from edge_sphereface.batch.journal import Journal
from edge_sphereface.batch.photograph_list import ListedPhotograph, decode_list, encode_list
from edge_sphereface.batch.tables import (
    PHOTOGRAPHS_KEY,
    Photograph,
    face_schema,
    faces_table,
    photographs_table,
)
from edge_sphereface.batch.versions import FileVersion
from edge_sphereface.cli.camera_tables import TABLE, camera_options
from edge_sphereface.cli.configuration import read_configuration
from edge_sphereface.cli.watch_options import watch_group
from edge_sphereface.detection.yunet import YuNet
from edge_sphereface.device import DeviceReport
from edge_sphereface.errors import EdgeSphereFaceError, EmbeddingError, ExtraError
from edge_sphereface.evaluation.pairs import read_csv_pairs, read_landmarks, read_lfw_pairs
from edge_sphereface.gallery import Threshold, open_gallery, read_key
from edge_sphereface.gallery.crops import decode_crop, encode_crop
from edge_sphereface.gallery.encryption import write_new_key
from edge_sphereface.gallery.transfer import export_gallery, import_gallery, read_fingerprint
from edge_sphereface.image import ImageFile
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import SessionConfig
from edge_sphereface.json_output import json_value
from edge_sphereface.kit.check import read_kit_check
from edge_sphereface.kit.golden import open_kit
from edge_sphereface.kit.outputs import read_outputs
from edge_sphereface.kit.result import read_kit_result
from edge_sphereface.liveness import LivenessCalibration, LivenessChecker
from edge_sphereface.liveness.calibration import ErrorRate, digests_of, load_calibration, store_calibration
from edge_sphereface.model.certificate import certificate_path, load_certificate
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.model.manifest import MANIFEST, read_manifest
from edge_sphereface.model.ncnn_file import write_ncnn_model
from edge_sphereface.model.ncnn_network import read_network
from edge_sphereface.model.origin import Origin
from edge_sphereface.model.quantization import Quantization
from edge_sphereface.model.spec import ModelSpec
from edge_sphereface.model.tuning import Tuning
from edge_sphereface.retention import INDEX_NAME, EventAges, FolderIndex
from edge_sphereface.retention.event_files import expire_events, read_lines, rewrite_events
from edge_sphereface.retention.mentions import Mentions
from edge_sphereface.storage.protobuf_wire import bytes_field, varint_field
from edge_sphereface.strangers import Sighting, StrangerStore
from edge_sphereface.stream.outputs.events.home_assistant.state import StateFile, Subject
from edge_sphereface.stream.outputs.events.outbox import Outbox
from edge_sphereface.stream.outputs.events.webhook_signature import read_secret
from edge_sphereface.types import EmbeddedFace, Face
from edge_sphereface.web.tokens import TokenBook, add_token
from export.checkpoint import open_checkpoint
from export.errors import TopologyError
from export.inspection import inspect
from export.liveness.convert import convert as convert_liveness
from export.source import recognize
from export.tuning.device_report import read_device_report
from tests.kit import records as kit_records
from tests.liveness.networks import parameters, write_safetensors
from tests.ncnn_files import ncnn_parts, write_ncnn

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = int(os.environ.get("EDGE_SPHEREFACE_FUZZ", "15"))
CPU_S = 20.0
"""Processor time of one file; the largest that are tried take a tenth of a second."""
MIB = 1024
"""Memory of one file above what was there: a progressive JPEG of as many pixels as are allowed takes 600 MiB."""
CROP = (112, 96, 3)
LIVENESS_FACE = Face(box=np.array([8, 8, 48, 56], np.float32), landmarks=np.zeros((5, 2), np.float32), score=1.0)
ONE_THREAD = SessionConfig(provider="cpu", threads=1)

NASTY = [
    b"0", b"-1", b"1", b"1.5", b"9" * 5000, b"1e999", b"-1e999", b"NaN", b"Infinity", b"1e-400", b"null", b"true",
    b'""', b'"\\ud800"', b'"x"', b"{}", b"[]", b"[" * 3000, b'{"a":' * 3000, b"[[[1]]]", b'{"a": 1}', b"\xff", b"\0",
    b"\n", b"\t", b'"', b"\xf0\x9f\x98\x80", b"x" * 200_000, b",", b" ",
]  # fmt: skip
SIZES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
TOKEN = re.compile(rb'"[^"]*"|[-+.\w]+|[\[\]{}:,\t\n ]')


def flip(data, draw):
    for _ in range(draw.randint(1, 8)):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)


def cut(data, draw):
    del data[draw.randint(0, len(data)) :]


def size(data, draw):
    """A field that may be a length, a count or an offset."""
    width = draw.choice((1, 2, 4, 8))
    value = draw.choice(SIZES) & ((1 << 8 * width) - 1)
    limit = draw.choice((len(data), min(len(data), 256)))  # headers come first
    if limit > width:
        at = draw.randrange(limit - width)
        data[at : at + width] = value.to_bytes(width, draw.choice(("little", "big")))


def splice(data, draw):
    start, end = sorted(draw.randint(0, len(data)) for _ in range(2))
    at = draw.randint(0, len(data))
    data[at:at] = bytes(data[start : min(end, start + 65536)]) * draw.choice((1, 1, 2, 50 if end - start < 200 else 1))


def drop(data, draw):
    start, end = sorted(draw.randint(0, len(data)) for _ in range(2))
    del data[start : min(end, start + draw.choice((1, 8, 4096)))]


def token(data, draw):
    """A word, number, text or bracket becomes something that nobody expects there."""
    found = [match.span() for match in TOKEN.finditer(bytes(data[: 1 << 16]))]
    if found:
        start, end = draw.choice(found)
        data[start:end] = draw.choice(NASTY)


def structure(data, draw):
    """A value of a JSON file, at any depth, is replaced, deleted, repeated or joined by an unknown one."""
    try:
        tree = json.loads(bytes(data))
    except (ValueError, RecursionError):
        token(data, draw)
        return
    node = tree
    while isinstance(node, (dict, list)) and node:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = draw.choice(keys)
        if not isinstance(node[key], (dict, list)) or draw.random() < 0.4:
            values = (
                None,
                True,
                -1,
                0,
                1.5,
                1e308,
                10**30,
                "",
                "x",
                "\ud800",
                [],
                {},
                [[]],
                {"a": 1},
                ["x"] * 9,
                node[key],
            )
            what = draw.choice(("replace", "replace", "delete", "add"))
            if what == "replace":
                node[key] = draw.choice(values)
            elif what == "delete":
                del node[key]
            elif isinstance(node, dict):
                node["surprise"] = draw.choice(values)
            else:
                node.append(draw.choice(values))
            break
        node = node[key]
    data[:] = json.dumps(tree).encode()


BINARY = (flip, cut, size, splice, drop)
TEXT = (flip, cut, splice, drop, token, token, structure, structure)


def search(path, spec):
    with open_gallery(path, Fingerprint.of(spec), timeout_s=0.2) as gallery:
        list(gallery.identities())
        gallery.search(np.eye(1, spec.embedding_size, dtype=np.float32))
        gallery.check()


def embed(path, _):
    Embedder(path, threads=1).embed(np.zeros((1, *CROP), np.uint8))


def forged(path, spec):
    """A network whose hashes are right, which ncnn then runs."""
    small = replace(spec, embedding_size=32, input_layout="nchw")
    network = path.read_text(encoding="utf-8", errors="replace")
    weights = bytearray(read_network(network, small).weights_bytes)
    with path.with_suffix(".ncnn").open("wb") as stream:
        write_ncnn_model(stream, small, network, io.BytesIO(weights))
    with contextlib.suppress(EmbeddingError):  # all weights are zero
        embed(path.with_suffix(".ncnn"), spec)


def transfer(path, spec):
    read_fingerprint(path)
    target = path.with_name("imported.db")
    for left in path.parent.glob("imported.db*"):
        left.unlink()
    with open_gallery(target, Fingerprint.of(spec), create=True) as gallery:
        import_gallery(gallery, path)


def checkpoint(path, _):
    with open_checkpoint(path) as opened:
        for name in opened.entries:
            opened.read(name)
        recognize(opened)


def journal(path, _):
    opened = Journal(path, {"a": 1})
    try:
        for place in opened.places.values():
            opened.read(place.offset)
    finally:
        opened.close()


def entities(path, _):
    StateFile(path, topic="faces").set_people([Subject(name="Ann", mark="monday")])


def spool(path, _):
    opened = Outbox(path)
    opened.after(0, 10)
    opened.close()


def index(path, _):
    with FolderIndex(path.parent) as opened:
        opened.files()
        opened.add("a.jpg", {"r-1": "Ann"})
        opened.event_ages()
        opened.forget_people(["Ann"])
        opened.erase()


def strangers(path, _):
    with StrangerStore(path, most=10) as opened:
        for stranger in opened.group(0.5).strangers:
            opened.crop(opened.sightings(stranger.id)[0].number)
        opened.forget_known(lambda rows: [False] * len(rows))
        opened.expire(3600.0)


def events(path, _):
    expire_events(path, EventAges(2e9, {"0123abcd": [(1, 0.5)]}, calendar_s=2e9), 60.0, dry_run=False)
    mentions = Mentions(["Ann"])
    for line in read_lines(path):
        mentions.learn(line)
    rewrite_events(path, mentions.without)


def audit(path, _):
    log = path.parent / "audit.jsonl"
    check_audit(log)
    AuditLog(log).record("enroll", subject="Ann", by="fuzz")


def configuration(path, _):
    read_configuration(watch_group(), ["--config", str(path)], {TABLE: camera_options()})


def tokens(path, _):
    path.chmod(0o600)
    TokenBook(path).holder("esf_x")


def photograph(path, _):
    file = ImageFile.read(path)
    for reduction in (1, file.reduction(8)):
        file.steps(file.decode(reduction))


def result(path, spec):
    opened = EarlierResult(path, Fingerprint.of(spec), "mtcnn")
    try:
        list(opened.faces(opened.photographs))
    finally:
        opened.close()


READERS = {
    # name: how it is damaged, who reads it, modules of the product that this is
    "spec.json": (
        TEXT,
        lambda path, _: ModelSpec.from_json(path.read_bytes()),
        "model.spec model.origin model.quantization model.tuning storage.record",
    ),
    "fingerprint.json": (TEXT, lambda path, _: Fingerprint.from_json(path.read_bytes()), "model.fingerprint"),
    "threshold.json": (TEXT, lambda path, _: Threshold.from_json(path.read_bytes()), "gallery.records"),
    "m.parity.json": (TEXT, lambda path, _: load_certificate(path), "model.certificate storage.regular_file"),
    "m.onnx": (
        BINARY,
        lambda path, _: Embedder(path, provider="cpu", threads=1).embed(np.zeros((1, *CROP), np.uint8)),
        "inference.session inference.embedder inference.weight_memory storage.protobuf_wire model.external_data",
    ),
    "m.ncnn": (BINARY, embed, "model.ncnn_file inference.ncnn_backend"),
    "forged.param": (TEXT, forged, "model.ncnn_network"),
    "inspected.onnx": (BINARY, lambda path, _: inspect(path), "export.inspection"),
    "yunet.onnx": (
        BINARY,
        lambda path, _: YuNet(path, session=SessionConfig(provider="cpu", threads=1)).find(
            np.zeros((64, 64, 3), np.uint8)
        ),
        "detection.yunet inference.onnx_graph",
    ),
    "liveness.onnx": (
        BINARY,
        lambda path, _: LivenessChecker([path], threads=1).check(np.zeros((64, 64, 3), np.uint8), [LIVENESS_FACE]),
        "liveness.checker liveness.spec",
    ),
    "liveness.liveness.json": (
        TEXT,
        lambda path, _: load_calibration(path),
        "liveness.calibration",
    ),
    "people.db": (BINARY, search, "gallery.sqlite.database gallery.sqlite.state gallery.sqlite.tables"),
    "people.db-matrix": (
        BINARY,
        lambda path, spec: search(path.with_name("people.db"), spec),
        "gallery.sqlite.template_matrix",
    ),
    "people.jsonl": (TEXT, transfer, "gallery.transfer"),
    "key": (TEXT, lambda path, _: read_key(path), "gallery.encryption"),
    "webhook.secret": (TEXT, lambda path, _: read_secret(path, {}), "stream.outputs.events.webhook_signature"),
    "crop.png": (BINARY, lambda path, _: decode_crop(path.read_bytes(), CROP), "gallery.crops"),
    **{
        f"photo.{kind}": (BINARY, photograph, "image image_header")
        for kind in ("jpg", "progressive.jpg", "png", "bmp", "gif", "webp", "tiff", "ppm")
    },
    MANIFEST: (TEXT, lambda path, _: read_manifest(path.read_bytes(), place="x"), "model.fetch"),
    "pairs.txt": (TEXT, lambda path, _: read_lfw_pairs(path), "evaluation.pairs"),
    "pairs.csv": (TEXT, lambda path, _: read_csv_pairs(path), "evaluation.pairs"),
    "landmarks.txt": (TEXT, lambda path, _: read_landmarks(path), "evaluation.pairs"),
    "x.ckpt": (BINARY, checkpoint, "export.checkpoint.checkpoint export.checkpoint.ckpt"),
    "x.pth": (BINARY, checkpoint, "export.checkpoint.pytorch export.checkpoint.zip_index"),
    "old.pth": (BINARY, checkpoint, "export.checkpoint.state_pickle"),
    "x.caffemodel": (BINARY, checkpoint, "export.checkpoint.caffe export.checkpoint.file_format"),
    "foreign.onnx": (BINARY, checkpoint, "export.checkpoint.onnx_network export.checkpoint.onnx_weights"),
    "x.safetensors": ((*BINARY, token), checkpoint, "export.checkpoint.safetensors"),
    "watch.toml": (TEXT, configuration, "cli.configuration"),
    "tokens.json": (TEXT, tokens, "web.tokens"),
    "entities.json": (TEXT, entities, "stream.outputs.events.home_assistant.state"),
    "spool.db": (BINARY, spool, "stream.outputs.events.outbox"),
    INDEX_NAME: (BINARY, index, "retention.folder_index retention.service_clock storage.private_database"),
    "strangers.db": (BINARY, strangers, "strangers.store strangers.sealed_values"),
    "events.jsonl": (TEXT, events, "retention.event_files retention.mentions"),
    "audit.jsonl": (TEXT, audit, "audit.entry audit.parts"),
    "audit.jsonl.key": (TEXT, audit, "audit.key"),
    "faces.partial": (BINARY, journal, "batch.journal"),
    "faces.parquet": (BINARY, result, "batch.earlier_result"),
    "photographs": (TEXT, lambda path, _: decode_list(path.read_bytes(), "x"), "batch.photograph_list"),
    "result.json": (TEXT, lambda path, _: load_result(path), "benchmarks.result_file"),
    "device.json": (TEXT, lambda path, _: read_device_report(path), "export.tuning.device_report"),
    "board.json": (
        TEXT,
        lambda path, _: DeviceReport.from_json(path.read_bytes()),
        "device.report evaluation.condition",
    ),
    "manifest.json": (TEXT, lambda path, _: open_kit(path.parent), "kit.manifest kit.golden"),
    "kit-result.json": (TEXT, lambda path, _: read_kit_result(path), "kit.result"),
    "kit-check.json": (TEXT, lambda path, _: read_kit_check(path), "kit.check"),
    **{
        f"outputs{suffix}": (ways, lambda path, _: read_outputs([path], count=6, size=512), "kit.outputs")
        for suffix, ways in ((".npy", BINARY), (".bin", BINARY), (".txt", TEXT), (".csv", TEXT), (".jsonl", TEXT))
    },
    "ledger.json": (
        TEXT,
        lambda path, _: read_records(LedgerRow, load_result(path).get("ledger")),
        "benchmarks.recorded",
    ),
    **{
        name: (TEXT, lambda path, _: imported.read(path, Stated(source="test")), "benchmarks.ascend.imported")
        for name in ("recorded.json", "ais_bench.log", "ais_bench_summary.json")
    },
}


def device_report():
    """What `edge-sphereface tune --json` writes, as far as it is read."""
    setting = {"threads": 2, "pinned_threads": False, "memory_arena": False}
    latency = {"median_ms": 5.5, "samples": 40}
    plain = {"model": "a/m.onnx", "precision": "float32", "rewrites": [], "stages": None, "latency": latency, **setting}
    best = {**plain, "model": "a/t.onnx", "rewrites": ["winograd"], "stages": ["4x4", "direct", "direct", "2x4"]}
    about = {"processor": "x", "onnxruntime": "1.32.0", "batch": 1, "source_sha256": "0" * 64}
    return {**about, "best": best, "rivals": [{"name": "m", **plain}], "rows": [best, plain]}


def _secret(path):
    path.touch(mode=0o600)
    path.write_text("whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1Q=")


def _liveness(folder):
    weights = write_safetensors(folder / "liveness.safetensors", parameters(gated=True))
    model = convert_liveness(weights, folder / "liveness.onnx", crop_scale=2.7).model
    error = ErrorRate(value=0.05, low=0.01, high=0.2)
    calibration = LivenessCalibration(
        models=digests_of([model]), threshold=0.7, apcer=error, bpcer=error, equal_error=error, attack_clips=40,
        live_clips=40, checks=900, detector="yunet", made_at="2026-11-27T12:00:00+00:00",
    )  # fmt: skip
    store_calibration(calibration, [model])


@pytest.fixture(scope="module")
def samples(  # noqa: PLR0913, PLR0917 -- a file of every kind
    tmp_path_factory, small_checkpoint, small_model, shallow_models, spec, astronaut, write_pth, measured_board
):
    """A folder with a sound file of every kind."""
    folder = tmp_path_factory.mktemp("samples")
    quantization = Quantization(
        target="portable", weight_bits=7, rules=(("conv1_1", "min-max"),), equalization=0.5, bias_correction=True,
        float_layers=("fc5",), calibration_crops=300, float_sha256="0" * 64, proof_crops=2000, cosine_mean=0.998,
        cosine_p1=0.995, cosine_min=0.985,
    )  # fmt: skip
    tuning = Tuning(
        stages=("4x4", "direct"), weight_growth=2.5, processor="x", threads=2, pinned_threads=False, memory_arena=False,
        batch=1, onnxruntime="1", samples=100, plain_ms=9.0, tuned_ms=5.0,
    )  # fmt: skip
    origin = Origin(preset="uniface", color_order="RGB", shortcut="after_activation", is_normalized=True)
    kind = Fingerprint.of(spec)
    threshold = Threshold(value=0.3, precision="float32", fingerprint=kind.digest, source="test", far=0.01)
    texts = {
        "spec.json": replace(spec, quantization=quantization, tuning=tuning, origin=origin).to_json(),
        "fingerprint.json": kind.to_json(),
        "threshold.json": threshold.to_json(),
        MANIFEST: f"{'0' * 64}  m.onnx\n{'1' * 64} *m.parity.json\n",
        "pairs.txt": "10\t300\nAnn\t1\t2\nAnn\t1\tBob\t13\n",
        "pairs.csv": 'image1_path,image2_path,label\n"a, b.jpg",c.jpg,1\nd.jpg,e.jpg,0\n',
        "landmarks.txt": f"a/1.jpg\t{' '.join(['12.5'] * 10)}\nb/2.jpg {' '.join(['-1e2'] * 10)}\n",
        "watch.toml": 'fps = 5.5\nfast = true\nprovider-option = ["a=1", "b=2"]\n'
        '[mqtt]\nurl = "mqtt://b"\n[[camera]]\nname = "a"\n',
        "result.json": json.dumps({"environment": {"cpu": "x"}, "rows": [{"a": 1.5}]}),
        "device.json": json.dumps(device_report()),
        "board.json": measured_board.to_json(),
        "ledger.json": json.dumps({"environment": {"cpu": "x"}, "ledger": json_value(published.ROWS)}),
        "manifest.json": kit_records.manifest().to_json(),
        "kit-result.json": kit_records.result().to_json(),
        "kit-check.json": kit_records.check().to_json(),
        "recorded.json": json.dumps({"environment": {"cpu": "x"}, "native": [{"path": "a", "latency": {"p50_ms": 1}}]}),
        "ais_bench.log": "[INFO] NPU_compute_time (ms): min = 0.8, max = 1.3, mean = 0.9, median = 0.9, "
        "percentile(99%) = 1.2\n[INFO] throughput 1000*batchsize.mean(1)/NPU_compute_time.mean(0.9): 1111.1\n",
        "ais_bench_summary.json": json.dumps(
            {"NPU_compute_time": {"min": 0.8, "mean": 0.9, "count": 2}, "npu_compute_time_list": [0.8, 1.0]}
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    write_new_key(folder / "key")
    _secret(folder / "webhook.secret")
    add_token(folder / "tokens.json", "door", ["read", "identify"])
    _outputs(folder)
    shutil.copy(certificate_path(small_model), folder / "m.parity.json")
    write_ncnn(small_model, folder / "m.ncnn")
    _liveness(folder)
    (folder / "forged.param").write_text(ncnn_parts(small_model)[1])
    for name in ("m.onnx", "inspected.onnx"):
        shutil.copy(small_model, folder / name)
    yunet = ROOT.parent / "shared/models/face_detection_yunet_2023mar.onnx"
    shutil.copy(yunet if yunet.exists() else small_model, folder / "yunet.onnx")
    shutil.copy(small_checkpoint, folder / "x.ckpt")
    from safetensors.numpy import save_file

    values = {"network.conv1_1.weight": np.ones((2, 3, 3, 3), np.float32), "half": np.ones(5, np.float16)}
    save_file(values, folder / "x.safetensors", metadata={"format": "ms"})
    _other_weights(folder, shallow_models["nchw"], write_pth)
    faces = np.random.default_rng(0).standard_normal((6, spec.embedding_size)).astype(np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    with open_gallery(folder / "people.db", kind, create=True, keep_crops=True) as gallery:
        for name, face in zip(("Ann", "Bob", "Zoë"), faces, strict=False):
            gallery.enroll(name, face, crops=[encode_crop(astronaut[:112, :96])], metadata={"role": [1, None]})
        gallery.set_threshold(threshold)
        export_gallery(gallery, folder / "people.jsonl")
    (folder / "crop.png").write_bytes(encode_crop(astronaut[:112, :96]))
    _photographs(folder, astronaut)
    _retained(folder)
    _strangers(folder, kind, faces[:3], astronaut[:112, :96])
    opened = Outbox(folder / "spool.db")
    opened.put('{"event": "appeared"}')
    opened.close()
    opened = Journal(folder / "faces.partial", {"a": 1})
    opened.append(_rows())
    opened.close()
    photographs = {"a.jpg": ListedPhotograph(FileVersion(1, 2), 1, None)}
    (folder / "photographs").write_bytes(encode_list(photographs))
    face = EmbeddedFace(
        face=Face(box=np.zeros(4), landmarks=np.zeros((5, 2)), score=1.0), crop=None, embedding=faces[0]
    )
    rows = photographs_table([Photograph("a.jpg", FileVersion(1, 2), None, [face])], spec.embedding_size)
    schema = face_schema(kind, "mtcnn")
    with pq.ParquetWriter(folder / "faces.parquet", schema) as writer:
        writer.write_table(faces_table(rows, kind, "mtcnn"))
        writer.add_key_value_metadata({PHOTOGRAPHS_KEY: encode_list(photographs)})
    return folder


def _retained(folder):
    """What says who is in files, events, an audit, and the entities for Home Assistant."""
    kept = StateFile(folder / "entities.json", topic="faces")
    kept.set_people([Subject(name="Ann", mark="monday")])
    kept.set_cameras([Subject(name="door", mark="rtsp://door")])
    kept.save()
    with FolderIndex(folder) as index:
        index.add("door-20260131T120000000Z.mkv", {"r-1": "Ann", "r-2": ""})
        index.add_run("0123abcd", 1, 1.7e9)
    line = '{"run": "0123abcd", "sequence": 1, "track": 1, "name": "Ann", "time": "2026-01-31T12:00:00.000Z"}'
    (folder / "events.jsonl").write_text(f"{line}\n" * 3)
    AuditLog(folder / "audit.jsonl").record("enroll", subject="Ann", by="test")


def _strangers(folder, kind, faces, crop):
    seen = datetime.fromtimestamp(1.7e9, timezone.utc)
    with StrangerStore(folder / "strangers.db", fingerprint=kind, create=True) as store:
        store.add(
            [Sighting(camera="door", start=seen, end=seen, quality=0.5, embedding=face, crop=crop) for face in faces]
        )
        store.group(0.5)


def _outputs(folder):
    """Outputs of a device in every format."""
    rows = np.random.default_rng(0).standard_normal((6, 512)).astype(np.float32)
    np.save(folder / "outputs.npy", rows)
    (folder / "outputs.bin").write_bytes(rows.tobytes())
    for suffix, separator in ((".txt", " "), (".csv", ",")):
        np.savetxt(folder / f"outputs{suffix}", rows, fmt="%.5g", delimiter=separator)
    (folder / "outputs.jsonl").write_text("\n".join(json.dumps({"output": row.tolist()}) for row in rows))


def _other_weights(folder, model, write_pth):
    """Files of weights of the other publishers: PyTorch's, Caffe's, and a graph without this package's metadata."""
    values = {"conv1_1.weight": np.ones((2, 3, 3, 3), np.float32), "conv1_1.bias": np.ones(2, np.float32)}
    write_pth(folder / "x.pth", values)
    write_pth(folder / "old.pth", values, old=True)
    shape = bytes_field(7, bytes_field(1, bytes([2, 3, 3, 3])))
    blobs = [shape + bytes_field(5, bytes(216)), varint_field(4, 2) + bytes_field(5, bytes(8))]
    layer = bytes_field(1, "conv1_1") + bytes_field(2, "Convolution") + b"".join(bytes_field(7, blob) for blob in blobs)
    (folder / "x.caffemodel").write_bytes(bytes_field(1, "net") + bytes_field(100, layer))
    graph = onnx.load(model)
    del graph.metadata_props[:]
    onnx.save(graph, folder / "foreign.onnx")


def _photographs(folder, image):
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image[::8, ::8, ::-1]))
    for kind in ("jpg", "png", "bmp", "gif", "webp", "tiff", "ppm"):
        picture.save(folder / f"photo.{kind}")
    picture.save(folder / "photo.progressive.jpg", progressive=True)


def _rows():
    return photographs_table(
        [Photograph("a.jpg", FileVersion(1, 2), None, ()), Photograph("b.jpg", FileVersion(3, 4), "broken", ())], 4
    )


@contextlib.contextmanager
def bounded():
    """Processor time and memory of what is done inside: the system gives it no more.

    Address space is what is bounded, so memory counts that is asked for and never touched, and growth counts whatever
    other tests took before. A library that turns a refusal into an error of its own is caught by its words.
    """
    start, old = time.process_time(), None
    if sys.platform == "linux":
        old = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (MIB << 20), old[1]))
    try:
        yield
    finally:
        if old is not None:
            resource.setrlimit(resource.RLIMIT_AS, old)
    assert time.process_time() - start < CPU_S


_OUT_OF_MEMORY = re.compile(
    r"MemoryError|bad_?\s?alloc|Insufficient memory|Failed to allocate|Cannot allocate|out of memory", re.IGNORECASE
)


def require_memory_enough(error):
    """The memory was not what failed: no error in the chain says so."""
    while error is not None:
        assert not isinstance(error, MemoryError)
        assert not _OUT_OF_MEMORY.search(str(error)), error
        error = error.__cause__ or error.__context__


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound no address space")
def test_a_reader_that_takes_too_much_would_be_seen():
    with pytest.raises(MemoryError), bounded():
        np.empty((MIB + 64) << 20, np.uint8)  # never touched: not in the resident memory
    with bounded():
        np.empty((MIB - 64) << 20, np.uint8)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_gives_a_result_or_our_error(name, samples, spec, tmp_path):
    ways, read, _ = READERS[name]
    path = tmp_path / name
    whole = next((start for start in ("people.db", "audit.jsonl") if name.startswith(start)), None)
    beside = [file for file in samples.iterdir() if whole is not None and file.name.startswith(whole)]
    content = (samples / name).read_bytes()

    def attempt(damaged):
        for left in tmp_path.iterdir():
            left.unlink()
        for file in beside:
            shutil.copy(file, tmp_path / file.name)
        path.write_bytes(damaged)
        path.chmod(0o600)
        with bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path, spec)
            except EdgeSphereFaceError as error:
                found = error
            else:
                found = None
        require_memory_enough(found)
        assert found is None or len(str(found)) < 20_000
        return found

    unharmed = attempt(content)
    # without the extra ncnn its files end in an ExtraError
    assert unharmed is None or isinstance(unharmed, (TopologyError, ExtraError)) or name == "yunet.onnx", unharmed

    # No deadline: wall clocks depend on what else the machine does
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.sampled_from(ways), min_size=1, max_size=4), st.integers(0, (1 << 64) - 1))
    def damage(some, seed):
        draw, data = random.Random(seed), bytearray(content)
        for way in some:
            way(data, draw)
        attempt(bytes(data))

    damage()


_READS = re.compile(
    r"RegularFile\(|parse_json\(|\(Record\)|json\.loads?\(|sqlite3\.connect|imdecode|imread|\.open\(\"r|InferenceSession\("
    r"|csv\.(?:Dict)?[rR]eader|read_fields\(|open_stream\("
)
_ELSEWHERE = {
    "storage.bounded_json": "what each reader of JSON calls",
    "cli.tune_command": "copies a model that it has opened",
    "storage.download": "copies a file and compares its SHA-256",
    "export.quantization.activation_statistics": "a model in memory",
    "export.kit.device_files": "files of this project",
    "export.kit.make": "copies a model that it has opened",
    "export.ncnn_form": "copies a model that it has made",
    "export.pnnx": "what pnnx made of a model, in test_ncnn",
    "export.orl.faces": "photographs of an installed package, in test_demo",
    "export.source_graph": "a graph whose network was read before, in test_onnx_graphs",
    "storage.files": "hashes a file",
    "detection.mtcnn": "networks of an installed package, in test_landmarks",
    "evaluation.machine_load": "a part of results of benchmarks, in test_recorded",
    "inference.resident_memory": "states of pages, which the kernel writes",
    "evaluation.timing": "a part of results of benchmarks, in test_recorded",
    "web.api": "bodies of requests, in test_api",
    "web.messages": "bodies of requests, in test_view",
}


def test_every_module_that_reads_is_among_them():
    covered = set(" ".join(modules for _, _, modules in READERS.values()).split())
    found = set()
    for package in ("edge_sphereface", "export"):
        for path in (ROOT / package).rglob("*.py"):
            if path.is_relative_to(ROOT / "export/kit/device"):
                continue  # programs of a kit read its own files on a device
            if _READS.search(path.read_text(encoding="utf-8")):
                found.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("edge_sphereface."))
    assert found - covered == set(_ELSEWHERE)
