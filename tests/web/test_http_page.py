"""The examples of ``docs/http.md`` run as written."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_sphereface.web.operations import OPERATIONS
from edge_sphereface.web.tokens import SCOPES

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")


@pytest.mark.checkout
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
def test_the_requests_run_as_written(interface, web, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(web.picture(1, kind=".jpg"))
    client = interface(None)
    lines = [line for line in PAGE.splitlines() if line.startswith("curl ")]
    assert len(lines) > 5
    for line in lines:
        command = line.replace("http://localhost:8081/", client.url)
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True, timeout=20)
        assert "error" not in json.loads(done.stdout), line


@pytest.mark.checkout
def test_every_operation_and_scope_is_on_the_page():
    for operation in OPERATIONS:
        assert f"/api{operation.path}" in PAGE.replace(
            "rename`, `merge`, `remove`", "rename /api/people/merge /api/people/remove"
        )
    assert set(SCOPES) <= set(re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE))
