"""Without the package of an extra: a sentence that says which to install, and everything else works."""

import sys

import numpy as np
import pytest

from edge_sphereface.batch import OperatorConfig, embed_folder
from edge_sphereface.batch.engines import RayEngine
from edge_sphereface.errors import ExtraError
from edge_sphereface.gallery import open_gallery
from edge_sphereface.model.fingerprint import Fingerprint


@pytest.fixture
def missing(monkeypatch):
    for name in ("cryptography", "cryptography.exceptions", "pymilvus", "pyarrow", "ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)


def test_each_extra_is_named(missing, spec, tmp_path, small_model):
    kind = Fingerprint.of(spec)
    with open_gallery(tmp_path / "x.db", kind, create=True) as gallery:
        gallery.enroll("Ann", np.eye(512)[0])
    for extra, attempt in {
        "secure": lambda: open_gallery(tmp_path / "y.db", kind, create=True, key=bytes(32)),
        "milvus": lambda: open_gallery(f"milvus:{tmp_path / 'z.db'}", kind, create=True),
        "parquet": lambda: embed_folder(OperatorConfig(folder=tmp_path, model=small_model), tmp_path / "x.parquet"),
        "ray": lambda: RayEngine(workers=1),
    }.items():
        with pytest.raises(ExtraError, match=rf"pip install '.*\[{extra}\]'"):
            attempt()
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith("x.db")) == []
