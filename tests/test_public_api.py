"""The package: light to import, and exactly the names that it promises."""

import subprocess
import sys

import pytest

import edge_sphereface


def test_every_public_name_is_there():
    assert sorted(edge_sphereface.__all__) == edge_sphereface.__all__
    for name in edge_sphereface.__all__:
        assert getattr(edge_sphereface, name) is not None
    assert dir(edge_sphereface) == edge_sphereface.__all__
    with pytest.raises(AttributeError, match="nonsense"):
        edge_sphereface.nonsense  # noqa: B018


def test_no_module_hides_a_public_name():
    """`from edge_sphereface import align` gives the function, whatever was imported before."""
    from pkgutil import iter_modules

    assert not {module.name for module in iter_modules(edge_sphereface.__path__)} & set(edge_sphereface.__all__)


def test_importing_is_light():
    """A few modules of its own and of the standard library; numpy alone would be over a hundred."""
    before, after = (
        set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())
        for code in ("import sys; print(*sys.modules)", "import edge_sphereface, sys; print(*sys.modules)")
    )
    own = {name for name in after - before if name.startswith("edge_sphereface")}
    assert len(own) <= 6
    assert len(after - before) <= 60


@pytest.mark.parametrize(
    "code",
    [
        "from edge_sphereface import Embedder",
        "from edge_sphereface import open_gallery",
        "from edge_sphereface.batch import embed_folder",
        "from edge_sphereface.stream import FaceStream, FileSink, StreamSettings",
        "from edge_sphereface.cli.__main__ import main, build_parser; build_parser()",
    ],
)
def test_heavy_libraries_wait_until_they_are_needed(code):
    heavy = ("cv2", "onnxruntime", "pyarrow", "pymilvus", "milvus_lite", "ray", "cryptography")
    subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; assert not set({heavy}) & set(sys.modules)"], check=True
    )


def test_opening_a_model_needs_no_openssl():
    """It takes 3.5 MiB, and only digests need it."""
    code = (
        "import numpy, sys; loaded = '_hashlib' in sys.modules\n"  # numpy 1 loads it
        "import edge_sphereface.inference.embedder; print(loaded == ('_hashlib' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "True"


def test_types_are_published():
    from importlib.resources import files

    assert (files("edge_sphereface") / "py.typed").is_file()
