"""The page: who may see it, what it gives, and how it looks in a browser."""

import asyncio
import json
import socket
import sys
import time
import urllib.error
import urllib.request

import pytest

from edge_sphereface.errors import ExtraError, SinkError
from edge_sphereface.web import PageView

TOKEN = "a token of this test"


def fetch(page, path="/", body=None, headers=None, method=None):
    """Status, headers and body of an answer."""
    data = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{page.port}{path}", data=data, headers={**kind, **(headers or {})}, method=method
    )
    opener = urllib.request.build_opener(Stay)
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are answers."""

    def redirect_request(self, *_):
        return None


def frame_of(answer):
    """The JSON and the JPEG of an answer."""
    head = int.from_bytes(answer[:4], "big")
    return json.loads(answer[4 : 4 + head]), answer[4 + head :]


def face_in(page, wanted=lambda face: True):
    """The first face of a frame that is wanted."""
    for _ in range(200):
        about, _ = frame_of(fetch(page, "/api/frame?after=0")[2])
        for face in about.get("faces", ()):
            if wanted(face):
                return face
        time.sleep(0.05)
    raise AssertionError("no such face came")


def test_frames_come_with_their_faces_and_each_once(served):
    page, _ = served()
    face = face_in(page)
    about, jpeg = frame_of(fetch(page, "/api/frame?after=0")[2])
    later, _ = frame_of(fetch(page, f"/api/frame?after={about['number']}")[2])
    assert jpeg[:2] == b"\xff\xd8"
    assert later["number"] > about["number"]
    assert (about["width"], about["height"]) == (480, 360)
    assert about["age_ms"] < 1000
    assert about["statistics"]["source_up"] is True
    assert 0 <= face["box"][0] < face["box"][2] <= 480


def test_somebody_is_enrolled_and_deleted(served, gallery):
    page, _ = served()
    face = face_in(page, lambda face: face["similarity"] is None and face["standing"] != "identified")
    for _ in range(100):
        status, _, body = fetch(page, "/api/enroll", {"track": face["track"], "name": " Eileen "})
        if status == 200:
            break
        assert json.loads(body)["error"]["code"] == "track"  # not seen well enough yet
        time.sleep(0.05)
    assert json.loads(body)["name"] == "Eileen"
    assert face_in(page, lambda face: face["name"] == "Eileen")["standing"] == "identified"
    people = json.loads(fetch(page, "/api/gallery")[2])
    assert [person["name"] for person in people["people"]] == ["Eileen"]
    assert fetch(page, "/api/remove", {"name": "Eileen"})[0] == 200
    assert len(gallery) == 0
    assert face_in(page, lambda face: face["name"] is None)
    status, _, body = fetch(page, "/api/remove", {"name": "Eileen"})
    assert (status, json.loads(body)["error"]["code"]) == (404, "identity-not-found")


@pytest.mark.parametrize(
    ("body", "status"), [({"track": "1", "name": "x"}, 400), ([], 400), ({"track": 10**6, "name": "x"}, 409)]
)
def test_what_cannot_be_enrolled_is_an_error(served, body, status):
    page, _ = served()
    got, _, answer = fetch(page, "/api/enroll", body)
    assert got == status
    assert json.loads(answer)["error"]["message"]


def test_a_large_body_is_not_read(served):
    page, _ = served()
    assert fetch(page, "/api/enroll", {"track": 1, "name": "x" * 50_000})[0] == 400


def test_other_names_for_this_machine_are_refused(served):
    """DNS rebinding: a page elsewhere whose name leads here."""
    page, _ = served()
    for name, status in (("evil.example", 403), (f"localhost:{page.port}", 200), ("[::1]", 200), ("127.0.0.2:1", 200)):
        assert fetch(page, headers={"Host": name})[0] == status, name


def test_pages_of_others_cannot_enroll(served):
    page, _ = served()
    body = {"track": 1, "name": "x"}
    assert fetch(page, "/api/enroll", body, {"Origin": "http://evil.example"})[0] == 403
    assert fetch(page, "/api/enroll", body, {"Content-Type": "text/plain"})[0] == 415
    assert fetch(page, "/api/enroll", body, {"Origin": f"http://127.0.0.1:{page.port}"})[0] == 409


def test_other_methods_are_told_what_is_allowed(served):
    page, _ = served(metrics=True)
    for method, path, allowed in (
        ("OPTIONS", "/", "GET, HEAD"),
        ("PUT", "/page.js", "GET, HEAD"),
        ("OPTIONS", "/api/frame", "GET, HEAD"),
        ("OPTIONS", "/api/enroll", "POST"),
        ("GET", "/api/remove", "POST"),
        ("OPTIONS", "/health", "GET, HEAD"),
    ):
        status, headers, _ = fetch(page, path, method=method)
        assert status == 405, path
        assert set(headers["Allow"].split(", ")) == set(allowed.split(", ")), path
    assert fetch(page, "/api/enroll", headers={"Origin": "http://evil.example"}, method="OPTIONS")[0] == 403


def test_head_is_get_without_its_body(served, wait_until):
    page, _ = served(metrics=True)
    wait_until(lambda: fetch(page, "/health")[0] == 200)
    for path in ("/", "/api/gallery", "/health"):
        status, headers, body = fetch(page, path, method="HEAD")
        assert (status, body) == (200, b""), path
        assert int(headers["Content-Length"]) > 10


def test_without_the_token_nothing_is_shown(served):
    page, _ = served(token=TOKEN)
    for path in ("/", "/page.js", "/api/frame", "/api/gallery", "/?token=wrong", "/api/enroll"):
        status, _, body = fetch(page, path)
        assert status == 401, path
        assert TOKEN.encode() not in body
    assert fetch(page, "/api/enroll", {"track": 1, "name": "x"})[0] == 401
    assert fetch(page, "/api/gallery", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200


def test_the_token_becomes_a_cookie_and_leaves_the_address(served):
    page, _ = served(token=TOKEN)
    status, headers, _ = fetch(page, f"/?token={TOKEN.replace(' ', '%20')}")
    cookie = headers["Set-Cookie"]
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert fetch(page, "/", headers={"Cookie": cookie.partition(";")[0]})[0] == 200


def test_every_answer_forbids_what_the_page_does_not_need(served):
    page, _ = served()
    for path in ("/", "/page.js", "/api/frame", "/missing"):
        _, headers, _ = fetch(page, path)
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert "http" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"


def test_others_are_let_in_only_with_a_token():
    with pytest.raises(SinkError, match="machines can reach"):
        PageView("0.0.0.0")
    with pytest.raises(SinkError, match="8 characters"):
        PageView("0.0.0.0", token="short")


def test_a_port_that_is_taken_is_one_error(served, cli, small_model, photo):
    page, _ = served()
    code, _, err = cli("watch", photo.parent, "--view", page.port)
    assert code == 1
    assert f"port {page.port}" in err


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(ExtraError, match=r"\[web\]"):
        PageView()


def raw(page, data):
    """Status of the answer to bytes."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as line:
        line.sendall(data)
        return int(line.makefile("rb").readline().split()[1])


ODD_PATHS = (
    "/%00",
    "/..%2f..%2fetc/passwd",
    "/%ff%fe",
    "//evil/x",
    "/" + "a" * 5000,
    "/api/frame?after=" + "9" * 5000,
    "/api/frame?after=%D9%A3",
    "/?token=%ff",
    "/?token=" + "x" * 5000,
)
ODD_HOSTS = ("[", "localhost:x", "localhost:99999999", "[::1", "a@b:1", "\xff")
ODD_BODIES = (
    b"[" * 16_000,
    b'{"track": ' + b"9" * 5000 + b', "name": "x"}',
    b'{"track": 1, "name": "\\ud800"}',
    b'{"track": 1e400, "name": "x"}',
    b'{"track": true, "name": ""}',
    b'{"name": "\\ud800"}',
    b"\xff\xfe",
    b"null",
)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_no_request_is_an_error_of_the_server(served, token, caplog):
    page, _ = served(token=token)
    bearer = "" if token is None else f"Authorization: Bearer {token}\r\n"
    statuses = {}
    for given in (bearer, ""):
        for path in ODD_PATHS:
            statuses[path] = raw(page, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{given}\r\n".encode())
        for host in ODD_HOSTS:
            statuses[host] = raw(page, f"GET /?token=x HTTP/1.1\r\nHost: {host}\r\n{given}\r\n".encode("latin-1"))
        for origin in ("http://[", "null", "http://evil:x", "//"):
            head = f"POST /api/remove HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n{given}\r\n"
            statuses[origin] = raw(page, head.encode())
        for path in ("/api/enroll", "/api/remove"):
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{given}"
            for body in ODD_BODIES:
                request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
                statuses[path, body] = raw(page, request)
    assert {what: status for what, status in statuses.items() if status >= 500} == {}
    assert caplog.records == []


def test_a_client_that_leaves_in_the_middle_is_no_error():
    from starlette.requests import Request

    from edge_sphereface.web.app import _body
    from edge_sphereface.web.messages import RequestError

    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    with pytest.raises(RequestError, match="The client left"):  # answered with 400, as other bad requests
        asyncio.run(_body(Request({"type": "http", "headers": []}, receive)))


def test_the_state_tells_who_is_there_and_the_gallery_who_was(served, gallery):
    page, _ = served()
    face = face_in(page, lambda face: face["standing"] == "unknown")
    assert fetch(page, "/api/enroll?camera=door", {"track": face["track"], "name": "Eileen"})[0] == 200
    face_in(page, lambda face: face["name"] == "Eileen")
    state = json.loads(fetch(page, "/api/state")[2])
    (camera,) = state["cameras"]
    assert (camera["name"], camera["state"], camera["names"], camera["strangers"]) == ("door", "up", ["Eileen"], 0)
    assert state["problems"] == []
    assert [decision["name"] for decision in state["recent"]][:1] == [None]
    assert state["recent"][-1]["name"] == "Eileen"
    (person,) = json.loads(fetch(page, "/api/gallery")[2])["people"]
    assert person["seen"]["camera"] == "door"
    assert abs(person["seen"]["unix_time"] - time.time()) < 60
    assert fetch(page, "/api/portrait?name=Eileen")[0] == 404  # this gallery keeps no crops
    assert fetch(page, "/api/frame?camera=garden")[0] == 400
    status, _, body = fetch(page, "/api/strangers")
    assert (status, json.loads(body)["error"]["code"]) == (409, "absent")  # this stream keeps none
