"""Records of a kit for tests."""

from dataclasses import replace

from edge_sphereface.kit.check import CheckedPairs, KitAgreement, KitCheck, NamedMistake, PairSeparation
from edge_sphereface.kit.manifest import PRECISIONS, KitCrop, KitFile, KitForm, KitManifest, KitMistake, KitReference
from edge_sphereface.kit.result import KitLatency, KitResult
from edge_sphereface.model.certificate import DEVICE_BOUNDS
from tests import records

SPEC = replace(records.SPEC, widths=(4, 8, 8, 8), embedding_size=8)
PATHS = ("forms/m.onnx", "expected/outputs.npy", "expected/embeddings.npy", "expected/mistakes/red-blue-swapped.npy",
         "crops/uint8.npy", "crops/float32.npy", "crops/uint8/0000.bin", "crops/float32/0000.bin",
         "crops/uint8/0001.bin", "crops/float32/0001.bin")  # fmt: skip


def manifest(**changes):
    """A manifest of two crops and one form."""
    values = {
        "made_by": "1.0",
        "spec": SPEC,
        "fingerprint": "esf1-" + "0" * 32,
        "forms": (
            KitForm(name="float32-b1", file=PATHS[0], precision="float32", layout="nchw", batch=1, input_name="data",
                    output_name="embedding", outputs=PATHS[1], bounds=DEVICE_BOUNDS),
        ),
        "crops": tuple(
            KitCrop(source="seeded noise", person=None, uint8=PATHS[6 + 2 * n], float32=PATHS[7 + 2 * n])
            for n in range(2)
        ),
        "crops_uint8": PATHS[4],
        "crops_float32": PATHS[5],
        "reference": KitReference(name="numpy", version="2", source="checkpoint"),
        "outputs": PATHS[1],
        "embeddings": PATHS[2],
        "bounds": dict.fromkeys(PRECISIONS, DEVICE_BOUNDS),
        "mistakes": (KitMistake(names=("red-blue-swapped",), how="RGB crops", outputs=PATHS[3]),),
        "files": tuple(KitFile(path=path, bytes=1, sha256="0" * 64) for path in PATHS),
    }  # fmt: skip
    return KitManifest(**{**values, **changes})


def result(**changes):
    """A result of ten rounds."""
    values = {
        "manifest_sha256": "0" * 64,
        "form": "float32-b1",
        "runtime": "onnxruntime",
        "runtime_version": "1.23.0",
        "device": "CPUExecutionProvider",
        "precision": "float32",
        "batch": 1,
        "rounds": 10,
        "latency_ms": KitLatency(min=1.0, mean=1.4, median=1.2, p95=2.0, p99=2.0, max=2.5),
        "includes": "whole call",
        "outputs": "outputs.npy",
        "outputs_sha256": "0" * 64,
        "machine": "aarch64, Linux",
        "started_at": "2026-11-27T02:50:00Z",
    }
    return KitResult(**{**values, **changes})


def check(**changes):
    """A check that failed, with a mistake and pairs."""
    agreement = KitAgreement(max_abs_error=0.5, min_cosine=0.3, mean_cosine=0.7, worst_crop=1)
    separation = PairSeparation(
        genuine_pairs=3, impostor_pairs=12, genuine_mean=0.6, impostor_mean=0.1, auc=0.99, accepted_genuine=1.0,
        accepted_impostor=0.0,
    )  # fmt: skip
    values = {
        "passed": False,
        "manifest_sha256": "0" * 64,
        "result_sha256": "1" * 64,
        "outputs_sha256": "2" * 64,
        "form": "float32-b1",
        "precision": "float32",
        "crops": 2,
        "bounds": DEVICE_BOUNDS,
        "keeps": (),
        "agreement": agreement,
        "unit_length": False,
        "mistake": NamedMistake(name="red-blue-swapped", explanation="RGB", remedy="BGR", agreement=agreement),
        "pairs": CheckedPairs(measured=separation, expected=separation),
    }
    return KitCheck(**{**values, **changes})
