"""Records of a kit: they survive JSON, and contradictions are refused."""

import re
from dataclasses import replace

import pytest

from edge_sphereface.errors import KitError
from edge_sphereface.kit.check import KitCheck, read_kit_check
from edge_sphereface.kit.manifest import KitManifest, read_kit_manifest
from edge_sphereface.kit.result import KitLatency, KitResult, read_kit_result
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


def test_check_survives_json(tmp_path):
    (tmp_path / "check.json").write_text(check().to_json())
    assert read_kit_check(tmp_path / "check.json") == check()
    passed = check(passed=True, mistake=None, pairs=None, result_sha256=None)
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


def test_other_kinds_and_versions_are_refused():
    with pytest.raises(KitError, match=r"'edge_sphereface.kit' of version 1, got 'edge_sphereface.kit' 2"):
        KitManifest.from_json(manifest().to_json().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(KitError, match=r"got 'edge_sphereface.kit' 1"):
        KitResult.from_json(manifest().to_json())


def test_an_unknown_form_is_an_error():
    with pytest.raises(KitError, match=r"form of the kit \(float32-b1\), got int4"):
        manifest().form("int4")
