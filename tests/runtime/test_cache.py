"""The cache: where the user says, else where the platform says, never among temporary files."""

import sys
import tempfile
from pathlib import Path

import pytest

from edge_sphereface.errors import CacheError
from edge_sphereface.storage.cache import cache_file, cache_folder, is_offline


def test_the_variable_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_SPHEREFACE_HOME", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("EDGE_SPHEREFACE_HOME", "~/here")
    assert cache_folder() == Path.home() / "here"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="XDG is Linux's")
def test_linux_follows_xdg(monkeypatch):
    monkeypatch.delenv("EDGE_SPHEREFACE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/mine")
    assert cache_folder() == Path("/var/cache/mine/edge_sphereface")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/someone/.cache/edge_sphereface")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/someone/.cache/edge_sphereface")
    assert not cache_folder().is_relative_to(tempfile.gettempdir())


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("darwin", "Library/Caches/edge_sphereface"), ("win32", "AppData/Local/edge_sphereface")],
)
def test_other_platforms(monkeypatch, platform, expected):
    monkeypatch.delenv("EDGE_SPHEREFACE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == Path("/home/someone") / expected


def test_no_home_is_an_error_and_not_a_temporary_folder(monkeypatch):
    monkeypatch.delenv("EDGE_SPHEREFACE_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(CacheError, match="EDGE_SPHEREFACE_HOME"):
        cache_folder()


def test_cache_file_makes_a_private_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_SPHEREFACE_HOME", str(tmp_path / "here"))
    path = cache_file("models", "x.onnx")
    assert path.parent.is_dir()
    assert path.parent.stat().st_mode & 0o077 == 0


def test_an_unusable_cache_says_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGE_SPHEREFACE_HOME", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="EDGE_SPHEREFACE_HOME"):
        cache_file("models", "x.onnx")


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("yes", True), ("0", False), ("", False), ("False", False)]
)
def test_offline(monkeypatch, value, expected):
    monkeypatch.setenv("EDGE_SPHEREFACE_OFFLINE", value)
    assert is_offline() is expected
