"""Only regular files of a bounded size are read, and nothing that is opened can block."""

import os
import socket

import pytest

from edge_sphereface.errors import CertificateError, ModelFormatError, ModelNotFoundError
from edge_sphereface.storage.regular_file import RegularFile

FILE = RegularFile(what="certificate", limit=6, error=CertificateError)


def test_a_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfabc")
    (tmp_path / "link").symlink_to("x")
    for name in ("x", "link"):
        assert FILE.read(tmp_path / name) == b"\xef\xbb\xbfabc"
        assert FILE.read_text(tmp_path / name) == "abc"
        assert FILE.require(tmp_path / name) == 6


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "/dev/zero", "/dev/tty"])
def test_all_else_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)
    with pytest.raises(
        CertificateError, match="Expected a certificate as a regular file, and .* is a (pipe|socket|folder|device)"
    ):
        FILE.read(path)


def test_size_is_bounded_before_anything_is_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(CertificateError, match="has 1099511627776 bytes; a certificate has at most 6"):
        FILE.read(tmp_path / "sparse")


@pytest.mark.parametrize("name", ["missing", "file/below", "\udcff"])
def test_no_file(tmp_path, name):
    (tmp_path / "file").touch()
    kind = RegularFile(what="model file", limit=10, error=ModelFormatError, missing=ModelNotFoundError, hint="make one")
    with pytest.raises(ModelNotFoundError, match=r"There is no model file .*\(make one\)"):
        kind.read(tmp_path / name)


@pytest.mark.parametrize("name", ["x\0y", "x" * 5000])
def test_names_that_cannot_be(tmp_path, name):
    with pytest.raises(CertificateError, match="Cannot read"):
        FILE.read(tmp_path / name)


def test_no_permission(tmp_path, as_nobody):
    (tmp_path / "x").write_bytes(b"abc")
    (tmp_path / "x").chmod(0)
    with as_nobody(), pytest.raises(CertificateError, match="Permission denied"):
        FILE.read(tmp_path / "x")


def test_what_is_no_text(tmp_path):
    (tmp_path / "x").write_bytes(b"a\xff")
    with pytest.raises(CertificateError, match="byte 1 does not fit"):
        FILE.read_text(tmp_path / "x")


def test_errors_of_the_caller_pass_through(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(OSError, match="mine"):
        with FILE.open(tmp_path / "x"):
            raise OSError("mine")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_read_where_it_may_be_one():
    kind = RegularFile(what="key file", limit=6, error=CertificateError, pipes=True)
    for content, enough in ((b"123456", True), (b"1234567", False)):
        reader, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
        if enough:
            assert kind.read(f"/dev/fd/{reader}") == content
        else:
            with pytest.raises(CertificateError, match="more than 6 bytes"):
                kind.read(f"/dev/fd/{reader}")
        os.close(reader)
