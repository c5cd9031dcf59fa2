"""Forms with pictures: what clients send is read, anything else is refused, and soon."""

import time

import pytest

from edge_sphereface.web.messages import RequestError
from edge_sphereface.web.multipart import boundary_of, parts_of


def form_of(*heads, data=b"\xff\xd8\r\n"):
    return b"".join(b"--xyz\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head in heads) + b"--xyz--\r\n"


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=----WebKitFormBoundaryA1", b"----WebKitFormBoundaryA1"),
        ('multipart/form-data; charset=utf-8; Boundary="a b:?\'()+_,-./="', b"a b:?'()+_,-./="),
        ("multipart/form-data;boundary=a/b=c", b"a/b=c"),
        ("Multipart/Form-Data; boundary=xyz;", b"xyz"),
    ],
)
def test_the_boundary_is_read(header, boundary):
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "parameters",
    ["", "boundary=", 'boundary="a ', "boundary=" + "x" * 71, "boundary=é", "boundary=" + "(" * 3000, "(" * 3000]
    + ["boundary*0=a; boundary*1=b", "boundary=a; boundary=b", "a=b;" * 9 + "boundary=x", 'boundary="a "'],
)
def test_other_boundaries_are_refused(parameters):
    with pytest.raises(RequestError, match="Expected|twice"):
        boundary_of(f"multipart/form-data; {parameters}")


@pytest.mark.parametrize(
    ("head", "field"),
    [
        (b'Content-Disposition: form-data; name="first"; filename="a;b.png"\r\nContent-Type: image/png', "first"),
        (b"content-disposition:form-data;NAME=first;filename*=utf-8''%e2%82%ac.png;filename=\"\xe9.png\"", "first"),
        (b'Content-Disposition: form-data; name="a\\"\\\\b"\r\nContent-Transfer-Encoding: Binary', 'a"\\b'),
        ('Content-Disposition: form-data; name="Größe"'.encode(), "Größe"),
    ],
)
def test_a_part_is_read(head, field):
    assert parts_of(form_of(head, head), b"xyz") == [(field, b"\xff\xd8\r\n")] * 2


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Content-Disposition: form-data",
        b"Content-Disposition: attachment; name=a",
        b"Content-Disposition: form-data; name*0*=utf-32''%ff; name*1*=a",
        b"Content-Disposition: form-data; " + b"(" * 1500,
        b"Content-Disposition: form-data; name=a" + b";a=b" * 1000,
        b"Content-Disposition: form-data; name=a; name=b",
        b'Content-Disposition: form-data; name="a',
        b"Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b",
        b"Content-Disposition: form-data;\r\n name=a",
        b"Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64",
        b"Content-Disposition: form-data; name=a\r\n" + b"\r\n".join(b"X%d: y" % number for number in range(16)),
        b"Content-Disposition: form-data; name=a\r\nX: " + bytes(5000),
    ],
)
def test_other_parts_are_refused(head):
    with pytest.raises(RequestError):
        parts_of(form_of(head), b"xyz")


@pytest.mark.parametrize(
    "filler", [b";a=b", b";", b"; ", b" ", b"(", b"\\", b'"', b'\\"', b'="', b"a", b"\r\na:", b"=", b"; a", b"\t= "]
)
def test_the_work_on_headers_is_bounded(filler):
    """The time is that of this thread, with a wide margin: a parser that goes back needs many seconds."""
    forms = []
    for start in (b"name=a", b"name=", b'name="', b""):
        head = b"Content-Disposition: form-data; " + start
        forms.append(form_of(*[head + filler * ((4090 - len(head)) // len(filler))] * 64))
    began = time.thread_time()
    for form in forms:
        try:
            parts_of(form, b"xyz")
        except RequestError:
            pass
    assert time.thread_time() - began < 1
