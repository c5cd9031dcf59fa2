"""Records of a kit: they survive JSON, and contradictions are refused."""

import json
import re
from dataclasses import replace

import pytest

from edge_sphereface.errors import KitError
from edge_sphereface.json_output import json_text
from edge_sphereface.kit.check import KitAgreement, KitCheck, read_kit_check
from edge_sphereface.kit.manifest import KitManifest, read_kit_manifest
from edge_sphereface.kit.result import KitLatency, KitResult, read_kit_result
from edge_sphereface.model.certificate import DEVICE_BOUNDS, Bounds
from tests.kit.records import check, manifest, result


def test_manifest_survives_json(tmp_path):
    (tmp_path / "manifest.json").write_text(manifest().to_json())
    found, sha256 = read_kit_manifest(tmp_path)
    assert found == manifest()
    assert re.fullmatch("[0-9a-f]{64}", sha256)


def test_result_survives_json(tmp_path):
    (tmp_path / "result.json").write_text(result().to_json())
    assert read_kit_result(tmp_path / "result.json")[0] == result()
    untimed = result(rounds=0, latency_ms=None)
    assert KitResult.from_json(untimed.to_json()) == untimed


def proven(**changes):
    """A check that passed."""
    right = KitAgreement(max_abs_error=1e-6, min_cosine=0.999999, mean_cosine=0.9999995, worst_crop=1)
    facts = {"passed": True, "mistake": None, "agreement": right, "keeps": ("float32",), "pairs": None}
    return check(**{**facts, "result_sha256": None, **changes})


def test_check_survives_json(tmp_path):
    (tmp_path / "check.json").write_text(check().to_json())
    assert read_kit_check(tmp_path / "check.json") == check()
    passed = proven()
    assert KitCheck.from_json(passed.to_json()) == passed


@pytest.mark.parametrize("path", ["../x.npy", "/etc/passwd", "a/../b.npy", "a//b", "a\\b.npy", ".hidden", "a/b/c/d/e"])
def test_no_path_leads_out_of_the_kit(path):
    with pytest.raises(KitError, match="relative path"):
        manifest(outputs=path)
    with pytest.raises(KitError, match="relative path"):
        result(outputs=path)


def test_contradictions_are_refused():
    kit = manifest()
    with pytest.raises(KitError, match=r"files must list expected/outputs\.npy"):
        manifest(files=tuple(file for file in kit.files if file.path != "expected/outputs.npy"))
    with pytest.raises(KitError, match="forms must be different ones"):
        manifest(forms=kit.forms * 2)
    with pytest.raises(KitError, match="bounds must be of float32, float16, int8, not of float32"):
        manifest(bounds={"float32": kit.bounds["float32"]})
    with pytest.raises(KitError, match="sides of at most 512"):
        manifest(spec=replace(kit.spec, input_height=1024))
    with pytest.raises(KitError, match="latency_ms must be given exactly if rounds were measured"):
        result(rounds=0)
    with pytest.raises(KitError, match="ascend"):
        KitLatency(min=2.0, mean=1.0, median=1.0, p95=1.0, p99=1.0, max=1.0)


LAX = Bounds(max_abs_error=1e6, min_cosine=-1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"passed": True}, "passed must be true exactly if"),
        ({"passed": True, "mistake": None}, "passed must be true exactly if"),
        ({"passed": True, "mistake": None, "agreement": None}, "passed must be true exactly if"),
        ({"keeps": ("float32",)}, "keeps must name float32 exactly if"),
        ({"keeps": ("int8", "int8")}, "different precisions"),
        ({"bounds": LAX, "passed": True, "mistake": None, "keeps": ("float32",)}, "a cosine of at least 0.999, not"),
        ({"crops": 1}, "worst_crop must be one of 1 crops"),
        ({"unit_length": True}, "max_abs_error must be missing exactly if"),
    ],
)  # fmt: skip
def test_a_check_agrees_with_itself(changes, words):
    """Otherwise a failed check whose verdict was edited would prove a run."""
    with pytest.raises(KitError, match=words):
        KitCheck.from_json(json.dumps({**json.loads(check().to_json()), **json.loads(json_text(changes))}))


def test_bounds_that_anything_keeps_are_refused():
    with pytest.raises(KitError, match=r"bounds of int8 must be .* not 1e\+06 and -1"):
        manifest(bounds={**manifest().bounds, "int8": LAX})
    with pytest.raises(KitError, match="bounds of float32 must be"):
        manifest(forms=(replace(manifest().forms[0], bounds=LAX),))


def test_names_in_a_message_are_escaped():
    with pytest.raises(KitError) as caught:
        manifest(bounds={"\x1b[2J": DEVICE_BOUNDS})
    assert caught.value.message.isprintable()


def test_outputs_of_a_kit_take_bounded_memory():
    with pytest.raises(KitError, match="must have at most 1048576 values"):
        manifest(spec=replace(manifest().spec, embedding_size=2048), crops=manifest().crops * 512)


def test_other_kinds_and_versions_are_refused():
    with pytest.raises(KitError, match=r"'edge_sphereface.kit' of version 1: it says 'edge_sphereface.kit' 2"):
        KitManifest.from_json(manifest().to_json().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(KitError, match=r"result is not .* it says 'edge_sphereface.kit' 1"):
        KitResult.from_json(manifest().to_json())


def test_an_unknown_form_is_an_error():
    with pytest.raises(KitError, match=r"form of the kit \(float32-b1\), got int4"):
        manifest().form("int4")
