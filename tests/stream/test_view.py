"""The page: who may see it, what it gives, and how it looks in a browser."""

import asyncio
import json
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec

import numpy as np
import pytest

from edge_sphereface import Embedder, FaceStream, open_detector
from edge_sphereface.errors import ExtraError, SinkError, SourceError
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
    assert (status, json.loads(body)["error"]["code"]) == (409, "identity-not-found")


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
    with pytest.raises(ExtraError, match=r"edge-sphereface\[web\]"):
        PageView()


@pytest.fixture
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or find_spec("playwright") is None:
        pytest.skip("needs chromium and playwright: scripts/install-test-servers")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        found = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.mark.slow
def test_in_chromium_a_click_on_a_face_enrolls_it(served, browser, gallery):
    page, _ = served(token=TOKEN)
    tab = browser.new_page(viewport={"width": 1100, "height": 700})
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(page.address)
    assert tab.url == f"http://127.0.0.1:{page.port}/"
    face = tab.wait_for_selector(".face.unknown, .face.identified")
    box, picture = face.bounding_box(), tab.locator("#picture").bounding_box()
    assert picture["x"] < box["x"] < box["x"] + box["width"] < picture["x"] + picture["width"]
    assert "frames/s" in tab.inner_text("#latency")
    face.click(force=True)  # it moves
    tab.fill("#name", "Eileen")
    tab.click("#save")
    tab.wait_for_selector(".face.identified")
    assert "Eileen" in tab.inner_text(".face.identified")
    assert tab.inner_text("#people .here span") == "Eileen"
    assert [person.name for person in gallery.identities()] == ["Eileen"]
    tab.click("#people button")
    tab.click("#remove .danger")
    tab.wait_for_selector(".face.unknown")
    assert len(gallery) == 0
    assert said == []


def enroll_people(gallery, count, size):
    """Enroll random people, the last with a long name."""
    names = [f"Person {index}" for index in range(count - 1)] + ["Maria Theodora " * 13]
    for name, row in zip(names, np.random.default_rng(count).standard_normal((count, size)), strict=True):
        gallery.enroll(name, np.float32(row / np.linalg.norm(row)))


def test_in_chromium_the_page_fits_the_window(served, browser, gallery, small_model):
    """No scrolling at 1280 x 800, whatever the gallery: its list scrolls. A telephone scrolls vertically alone."""
    size = Embedder(small_model).spec.embedding_size
    page, _ = served()
    tab = browser.new_page()
    for count in (1, 100):
        enroll_people(gallery, count, size)
        tab.set_viewport_size({"width": 1280, "height": 800})
        tab.goto(page.address)
        tab.wait_for_selector(".face")
        tab.wait_for_selector("#people li")
        root = tab.locator(":root")
        assert root.evaluate("root => [root.scrollWidth, root.scrollHeight]") == [1280, 800]
        for part in ("#picture", "#latency", "#hint"):
            box = tab.locator(part).bounding_box()
            assert box["y"] + box["height"] <= 800, part
        tab.set_viewport_size({"width": 390, "height": 844})
        assert root.evaluate("root => root.scrollWidth") == 390
    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.locator("#people li").last.scroll_into_view_if_needed()
    assert tab.locator("#people").evaluate("list => list.scrollTop") > 0


def test_in_chromium_a_camera_that_is_away_is_said_at_once(running, browser, fake_source, wait_until):
    page = PageView(port=0)
    source = fake_source([SourceError("The cable was pulled.")])
    running(FaceStream(source, detector=open_detector(), frame_sinks=[page]))
    wait_until(lambda: page.port)
    tab = browser.new_page()
    tab.goto(page.address)
    tab.wait_for_selector(".dot.down", timeout=4000)
    assert tab.inner_text("#absence") == "no picture from the source"


def test_in_chromium_a_face_that_is_named_again_is_told(served, browser, gallery):
    """A name that exists, one face with two names, and a person who was deleted elsewhere meanwhile."""
    page, _ = served()
    tab = browser.new_page()
    tab.goto(page.address)
    for name in ("Eilen", "Eileen"):
        tab.wait_for_selector(".face.unknown, .face.identified").click(force=True)
        tab.fill("#name", name)
        tab.click("#save")
        tab.wait_for_selector(f"#people li[data-name={name}]")
    assert "looks like Eilen" in tab.inner_text("#note")
    tab.click(".face", force=True)
    tab.fill("#name", "Eilen")
    assert "enrolled already" in tab.inner_text("#effect")
    tab.click("#cancel")
    gallery.remove(["Eilen"])
    tab.click("#people li[data-name=Eilen] button")
    tab.click("#remove .danger")
    tab.wait_for_function("document.querySelector('#note').textContent.includes('Eilen')")
    tab.wait_for_selector("#people li[data-name=Eilen]", state="detached")
    assert "looks like" not in tab.inner_text("#note")


def test_in_chromium_names_are_text(served, browser, gallery, small_model):
    """A name that is a piece of a page runs nothing."""
    gallery.enroll(
        "<img src=x onerror=alert(1)>", np.eye(1, Embedder(small_model).spec.embedding_size, dtype=np.float32)
    )
    page, _ = served()
    tab = browser.new_page()
    tab.goto(page.address)
    tab.wait_for_selector("#people li")
    assert "<img src=x" in tab.inner_text("#people")


def test_in_chromium_a_program_that_ended_is_said(served, browser):
    page, stream = served()
    tab = browser.new_page()
    tab.goto(page.address)
    tab.wait_for_selector(".dot.up")
    stream.stop()
    tab.wait_for_selector(".dot.down", timeout=10_000)
    assert "does not answer" in tab.inner_text("#state")


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
