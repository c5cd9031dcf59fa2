"""The HTTP interface: pictures, people, cameras, events, and who may use them."""

import json
import socket
import struct
import threading
import time
import zlib
from contextlib import closing
from dataclasses import dataclass

import pytest

from edge_sphereface.audit import AuditLog, read_entries
from edge_sphereface.cli.hints import advice
from edge_sphereface.cli.watch_options import WatchOptions
from edge_sphereface.cli.watch_parts import make_parts
from edge_sphereface.errors import SinkError, SourceError
from edge_sphereface.gallery import Threshold
from edge_sphereface.pipeline import FacePipeline
from edge_sphereface.stream.capture.reader import SourceChange
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings
from edge_sphereface.web import HttpInterface
from edge_sphereface.web.api import Parts
from edge_sphereface.web.event_log import EventLog
from edge_sphereface.web.picture_limits import PictureLimits
from edge_sphereface.web.tokens import add_token


def code_of(answer):
    return answer.status, answer.body["error"]["code"]


def test_faces_are_detected_embedded_and_compared(interface, web):
    client = interface()
    found = client.ask("detect", web.picture(1))
    assert found.status == 200
    assert (found.body["detector"], found.body["width"], found.body["height"]) == ("fake", 320, 240)
    assert found.body["faces"][0]["box"] == [15.0, 20.0, 81.0, 110.0]
    embedded = client.ask("embed", web.form(picture=web.picture(1)), web.FORM)
    assert len(embedded.body["faces"][0]["embedding"]) == 32
    pair = web.form(first=web.picture(1), second=web.picture(2))
    same = client.ask("verify?threshold=0.99", web.form(first=web.picture(1), second=web.picture(1)), web.FORM).body
    other = client.ask("verify?threshold=0.99", pair, web.FORM).body
    assert (same["same"], other["same"]) == (True, False)
    assert client.ask("verify", pair, web.FORM).body["threshold_source"].startswith("the model's")


def test_people_are_enrolled_identified_renamed_merged_and_removed(interface, web, people, tmp_path):
    changes = []
    audit = AuditLog(tmp_path / "audit.jsonl")
    client = interface(on_gallery_change=lambda: changes.append(1), audit=audit)
    enrolled = client.ask("people?name=Ann%20Lee", web.form(picture=[web.picture(1), web.picture(2)]), web.FORM)
    assert (enrolled.status, enrolled.body["name"], enrolled.body["added"]) == (200, "Ann Lee", 2)
    client.ask("people?name=Bob", web.picture(3))
    found = client.ask("identify?top=1&threshold=0.9", web.picture(3)).body["faces"][0]
    assert (found["name"], len(found["candidates"])) == ("Bob", 1)
    page = client.ask("people?limit=1").body
    assert ([one["name"] for one in page["people"]], page["total"], page["next"]) == (["Ann Lee"], 2, "Ann Lee")
    rest = client.ask("people?limit=1&after=Ann%20Lee").body
    assert ([one["name"] for one in rest["people"]], rest["next"]) == (["Bob"], None)
    assert client.ask("people/rename", {"name": "Bob", "to": "Rob"}).body["name"] == "Rob"
    assert client.ask("people/merge", {"name": "Rob", "into": "Ann Lee"}).body["embeddings"] == 3
    assert client.ask("people/remove", {"name": "Ann Lee"}).body == {"removed": "Ann Lee"}
    assert (len(people), len(changes)) == (0, 5)
    entries = list(read_entries(tmp_path / "audit.jsonl"))
    assert [entry.action for entry in entries] == ["enroll", "enroll", "identify", "rename", "merge", "remove"]
    assert {entry.by for entry in entries} == {"tester"}


def test_an_ignored_person_is_named_only_to_who_may_list_people(interface, web, tmp_path):
    audit = AuditLog(tmp_path / "audit.jsonl")
    client = interface(audit=audit)
    client.ask("people?name=Postman", web.picture(1))
    changed = client.ask("people/ignore", {"name": "Postman", "ignored": True})
    assert (changed.status, changed.body["ignored"]) == (200, True)
    assert client.ask("people").body["people"][0]["ignored"]
    assert code_of(client.ask("people/ignore", {"name": "Zoe", "ignored": True})) == (404, "identity-not-found")
    assert code_of(client.ask("people/ignore", {"name": "Postman"})) == (400, "usage")
    known = {"reader": (["identify"], []), "lister": (["identify", "read"], ["Postman"])}
    for token, (scopes, names) in known.items():
        reader = web.Client(client.url, add_token(client.book, token, scopes))
        (face,) = reader.ask("identify?threshold=0.9", web.picture(1)).body["faces"]
        assert (face["name"], face["outcome"]) == (None, "ignored")
        assert [found["name"] for found in face["candidates"]] == names
        assert code_of(reader.ask("people/ignore", {"name": "Postman", "ignored": False})) == (403, "access")
    for token, (scopes, names) in known.items():
        writer = web.Client(client.url, add_token(client.book, f"{token} who writes", [*scopes, "enroll"]))
        alike = writer.ask(f"people?name={token}", web.picture(1)).body["lookalikes"]
        assert [found["name"] for found in alike if found["name"] not in known] == names
    assert [entry.action for entry in read_entries(tmp_path / "audit.jsonl")][:2] == ["enroll", "ignore"]


def test_every_picture_is_enrolled_or_none(interface, web, people):
    client = interface()
    answer = client.ask("people?name=Ann", web.form(picture=[web.picture(1), web.picture(2, height=100)]), web.FORM)
    assert code_of(answer) == (422, "no-face")
    assert answer.body["error"]["message"].startswith("picture 2: ")
    assert code_of(client.ask("people?name=Ann", web.picture(1, height=241))) == (422, "several-faces")
    assert len(people) == 0
    assert client.ask("people?name=Ann&select=largest", web.picture(1, height=241)).status == 200


def bomb(width, height):
    """A PNG file of few bytes that announces many pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_bad_pictures_are_refused_before_they_are_decoded(interface, web, detector):
    client = interface(limits=PictureLimits(picture_mib=0.5, picture_megapixels=1))
    for data, kind, expected in (
        (bomb(50_000, 50_000), "image/png", (422, "image")),
        (web.picture(1)[:200], "image/png", (422, "image")),
        (b"nothing", "image/jpeg", (422, "image")),
        (b"", "image/jpeg", (422, "image")),
        (bytes(600_000), "image/jpeg", (413, "too-large")),
        (web.form(picture=bytes(560_000)), web.FORM, (413, "too-large")),
        (web.form(picture=[web.picture(1)] * 2), web.FORM, (400, "usage")),
        (web.form(), web.FORM, (400, "usage")),
        (web.form(picture=web.picture(1))[:-20], web.FORM, (400, "usage")),
        (web.picture(1), "multipart/form-data", (400, "usage")),
        (web.picture(1), "multipart/form-data; boundary=" + "(" * 3000, (400, "usage")),
        (web.form(picture=b"").replace(b"name=", b"name*0*=utf-32''%ff; name*1*="), web.FORM, (400, "usage")),
        (b"{}", "application/json", (400, "usage")),
        (web.picture(1), "application/x-www-form-urlencoded", (415, "access")),
    ):
        assert code_of(client.ask("detect", data, kind)) == expected
    assert detector.shapes == []
    assert client.ask("detect", web.picture(1)).status == 200


def test_a_body_without_a_length_is_bounded_too(interface):
    client = interface(limits=PictureLimits(picture_mib=0.05))
    host, port = client.url.removeprefix("http://").rstrip("/").split(":")
    with closing(socket.create_connection((host, int(port)), 10)) as peer:
        peer.sendall(
            f"POST /api/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
            "Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(4):
            peer.sendall(b"8000\r\n" + bytes(0x8000) + b"\r\n")
        peer.sendall(b"0\r\n\r\n")
        assert b" 413 " in peer.recv(100)


def test_overload_is_refused_with_a_time_to_try_again(interface, web, detector):
    client = interface(limits=PictureLimits(picture_patience_s=0))
    client.ask("detect", web.picture(1))
    assert detector.began.acquire(timeout=10)
    detector.gate.clear()
    slow = threading.Thread(target=client.ask, args=("detect", web.picture(1)))
    slow.start()
    assert detector.began.acquire(timeout=10)
    refused = [client.ask("detect", web.picture(1)) for _ in range(3)]
    detector.gate.set()
    slow.join(10)
    late = [answer for answer in refused if answer.status == 429]
    assert late
    assert late[0].body["error"]["code"] == "busy"
    assert int(late[0].headers["Retry-After"]) >= 1
    assert client.ask("health").body["pictures"]["refused"] == len(late)


def test_a_request_ends_at_its_deadline(interface, web, detector):
    client = interface(limits=PictureLimits(picture_deadline_s=0.1))
    detector.gate.clear()
    assert code_of(client.ask("detect", web.picture(1))) == (503, "busy")
    detector.gate.set()


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("read", {"people", "events", "health"}),
        ("identify", {"detect", "identify"}),
        ("enroll", {"people/remove"}),
        ("embed", {"embed"}),
    ],
)
def test_each_scope_permits_its_own(interface, web, scope, allowed):
    client = interface([scope])
    requests = {
        "people": None, "health": None, "events": None, "detect": web.picture(1), "identify": web.picture(1),
        "embed": web.picture(1), "people/remove": {"name": "x"}, "cameras": {"name": "x"},
    }  # fmt: skip
    refused = {path for path, data in requests.items() if code_of_any(client.ask(path, data)) == "access"}
    assert refused == set(requests) - allowed


def code_of_any(answer):
    return answer.body.get("error", {}).get("code") if isinstance(answer.body, dict) else None


def threshold_of(people, value):
    kept = people.fingerprint
    return Threshold(value=value, source="test", precision=kept.precision, fingerprint=kept.digest)


def test_enrolling_identifies_nobody_without_the_scope(interface, web, people):
    client = interface(["enroll"])
    client.ask("people?name=Ann", web.picture(1))
    people.set_threshold(threshold_of(people, 0.5))
    assert client.ask("people?name=Bob", web.picture(1)).body["lookalikes"] == []
    assert client.ask("people/remove", {"name": "Anna"}).body["error"].get("hint") is None
    both = web.Client(client.url, add_token(client.book, "both", ["enroll", "identify"]))
    assert {one["name"] for one in both.ask("people?name=Eve", web.picture(1)).body["lookalikes"]} == {"Ann", "Bob"}


def test_identification_lists_no_gallery_without_the_scope(interface, web, people):
    client = interface(["identify"])
    writer = web.Client(client.url, add_token(client.book, "writer", ["admin"]))
    for seed, name in enumerate(("Ann", "Bob", "Eve")):
        writer.ask(f"people?name={name}", web.picture(seed))
    people.set_threshold(threshold_of(people, 0.999))

    def found(asker, query, seed=1):
        face = asker.ask(f"identify?top=100&{query}", web.picture(seed)).body["faces"][0]
        return face["threshold"], face["name"], [one["name"] for one in face["candidates"]]

    assert found(client, "threshold=-1") == (0.999, "Bob", ["Bob"])
    assert found(client, "") == (0.999, "Bob", ["Bob"])
    assert found(client, "threshold=1", seed=5) == (1, None, []), "Bob's own picture may reach 1, after rounding"
    threshold, name, candidates = found(writer, "threshold=-1")
    assert (threshold, name, len(candidates)) == (-1, "Bob", 3)


def test_the_threshold_of_the_settings_counts_before_that_of_the_gallery(people, web_embedder, detector, web):
    people.set_threshold(threshold_of(people, 0.3))
    settings = StreamSettings(recognition=RecognitionSettings(threshold=0.5))
    pipeline = FacePipeline(web_embedder, detector)
    pictures = make_parts(WatchOptions(stream=settings), pipeline, people, None).pictures
    photo = pictures.file(web.picture(1), "1.png")
    try:
        assert pictures.identify(photo).result().faces[0].answer.threshold == 0.5
        assert pictures.identify(photo, threshold=0.4).result().faces[0].answer.threshold == 0.4
        narrow = pictures.identify(photo, threshold=0.4, matches_only=True)
        assert narrow.result().faces[0].answer.threshold == 0.5
        assert pictures.verify(photo, photo).result().threshold == 0.5
    finally:
        pictures.close(10)


def test_where_there_is_nothing_the_document_is_named(interface):
    nothing = interface().ask("")
    assert nothing.status == 404
    assert "/api/openapi.json" in nothing.body["error"]["hint"]


def test_tokens_are_required_and_their_rates_kept(interface, tmp_path, web):
    client = interface()
    slow = add_token(tmp_path / "tokens.json", "slow", ["read"], per_second=0.01, burst=1)
    for token in (None, "", "wrong"):
        answer = web.Client(client.url, token).ask("health")
        assert code_of(answer) == (401, "access")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert ("removed" in answer.body["error"]["message"]) == (token == "wrong")
    limited = web.Client(client.url, slow)
    assert limited.ask("health").status == 200
    answer = limited.ask("health")
    assert code_of(answer) == (429, "rate")
    assert int(answer.headers["Retry-After"]) > 50
    (tmp_path / "tokens.json").write_text("{")
    assert code_of(client.ask("health")) == (503, "tokens")


def test_without_tokens_only_this_machine_is_answered(interface, web):
    client = interface(None)
    assert client.ask("detect", web.picture(1)).status == 200
    for path, data in (("embed", web.picture(1)), ("cameras", {"name": "x"})):
        refused = client.ask(path, data)
        assert code_of(refused) == (403, "access")
        assert refused.body["error"]["message"].startswith("Programs of this machine may not")
        assert "file of tokens" in refused.body["error"]["hint"]
    advised = interface(None, advise=advice).ask("embed", web.picture(1)).body["error"]["hint"]
    assert advised.endswith(": edge-sphereface tokens add FILE NAME --scopes embed")
    assert "with a file of tokens: serve --tokens FILE, watch --tokens FILE; send one" in advised
    assert code_of(client.ask("health", headers={"Host": "house.example"})) == (403, "access")
    foreign = {"Origin": "http://elsewhere.example"}
    assert code_of(client.ask("detect", web.form(picture=b""), web.FORM, headers=foreign)) == (403, "access")
    crossed = {"Sec-Fetch-Site": "cross-site"}
    assert code_of(client.ask("detect", web.form(picture=b""), web.FORM, headers=crossed)) == (403, "access")
    with pytest.raises(SinkError, match="Other machines"):
        HttpInterface(Parts(), "0.0.0.0", 0)


def test_wrong_requests_are_told_what_is_expected(interface, web):
    client = interface()
    for path, data, expected in (
        ("people?limit=0", None, (400, "usage")),
        ("people?limit=x", None, (400, "usage")),
        ("people?limt=1", None, (400, "usage")),
        ("identify?threshold=nan", web.picture(1), (400, "usage")),
        ("people", web.picture(1), (400, "usage")),
        ("people?name=%00", web.picture(1), (409, "identity")),
        ("people/rename", {"name": "x"}, (400, "usage")),
        ("people/rename", {"name": "x", "to": "y"}, (404, "identity-not-found")),
        ("verify", web.picture(1), (400, "usage")),
        ("cameras", None, (409, "absent")),
        ("events", None, (409, "absent")),
        ("nothing", None, (404, "usage")),
        ("detect", None, (405, "usage")),
    ):
        assert code_of(client.ask(path, data)) == expected, path


def test_a_misspelled_parameter_is_recognized(interface, web):
    client = interface()
    hints = {
        path: client.ask(path, web.picture(1)).body["error"]["hint"]
        for path in ("verify?thresold=0.3", "identify?x=1", "detect?x=1")
    }
    assert list(hints.values()) == ["do you mean 'threshold'?", "it takes top, threshold, margin", "it takes none"]


def read_camera(values):
    if "source" not in values:
        raise SourceError("A camera needs a source.")
    return values


class Cameras:
    """A group of cameras that remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def cameras(self):
        @dataclass(frozen=True)
        class Status:
            name: str

        return [Status(name="door")]

    def add(self, camera):
        self.asked.append(("add", camera["name"]))

    def change(self, camera):
        self.asked.append(("change", camera["name"]))

    def remove(self, name):
        self.asked.append(("remove", name))

    def snapshot(self, name):
        return b"\xff\xd8" + name.encode()


def test_cameras_are_listed_and_changed(interface):
    cameras = Cameras()
    client = interface(cameras=cameras, read_camera=read_camera)
    gate = {"name": "gate", "source": "0", "fps": 5}
    assert client.ask("cameras").body == {"cameras": [{"name": "door"}]}
    assert client.ask("cameras", gate).body == {"camera": "gate", "stored": False}
    assert client.ask("cameras", gate, method="PUT").status == 200
    assert client.ask("cameras/remove", {"name": "gate"}).status == 200
    assert cameras.asked == [("add", "gate"), ("change", "gate"), ("remove", "gate")]
    snapshot = client.ask("cameras/snapshot?name=door")
    assert (snapshot.body, snapshot.headers["Content-Type"]) == (b"\xff\xd8door", "image/jpeg")
    assert code_of(client.ask("cameras", {"name": "x"})) == (400, "usage")
    assert client.ask("health").body["cameras"] == 1


class Follower:
    """A client of the events, over a plain socket."""

    def __init__(self, client, query="", resume=None):
        host, port = client.url.removeprefix("http://").rstrip("/").split(":")
        self._peer = socket.create_connection((host, int(port)), 10)
        more = "" if resume is None else f"Last-Event-ID: {resume}\r\n"
        self._peer.sendall(
            f"GET /api/events{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n{more}\r\n".encode()
        )
        self._text = ""
        self.is_accepted = " 200 " in self.until("\r\n")
        if self.is_accepted:
            self.until("retry: 2000")

    def until(self, text):
        while text not in self._text:
            data = self._peer.recv(1 << 16)
            assert data, self._text
            self._text += data.decode()
        return self._text

    def close(self):
        self._peer.close()


@pytest.fixture
def make_event():
    maker = EventMaker("door")
    return lambda reason="gone": maker.source_changed("camera", SourceChange(up=False, reason=reason), 1e9)


def test_events_are_followed_and_resumed(interface, make_event):
    log = EventLog()
    client = interface(events=log)
    log.write(make_event("before"))
    with closing(Follower(client)) as first:
        log.write(make_event("during"))
        text = first.until("during")
        assert "before" not in text
        assert f"id: {log.identifier(2)}\nevent: source-down\ndata: {{" in text
        last = json.loads(text.partition("data: ")[2].partition("\n")[0])
        assert last["sequence"] == 2
    for _ in range(3):
        log.write(make_event("missed"))
    with closing(Follower(client, resume=log.identifier(2))) as second:
        assert second.until(f"id: {log.identifier(5)}").count("missed") == 3
    with closing(Follower(client, resume="other-2")) as third:
        assert 'data: {"missed": null}' in third.until(f"id: {log.identifier(5)}")
    with closing(Follower(client, "?kind=identified,source-down&stream=gate", resume=log.identifier(0))) as fourth:
        log.write(make_event())
        log.close()  # ends the answer
        assert "event:" not in fourth.until("0\r\n\r\n")


def test_clients_that_follow_are_bounded(interface):
    client = interface(events=EventLog())
    followers = [Follower(client) for _ in range(8)]
    assert code_of(client.ask("events")) == (429, "busy")
    for follower in followers:
        follower.close()


def test_clients_that_never_read_are_dropped(interface, make_event):
    """Their number shows it: the system keeps what it has for them, and tells them nothing."""
    log = EventLog(most_events=50)
    client = interface(events=log, answer_s=1)
    followers = [Follower(client)]
    while followers[-1].is_accepted:  # however many of them a slow machine has dropped meanwhile
        followers.append(Follower(client))
    refused = followers.pop()
    while not refused.is_accepted:  # ends with the time limit of a test if they stay
        refused.close()
        for _ in range(20):
            log.write(make_event("x" * 50_000))
        time.sleep(0.02)
        refused = Follower(client)
    for follower in (refused, *followers):
        follower.close()


def test_a_client_that_reads_stays(interface, make_event):
    log = EventLog()
    with closing(Follower(interface(events=log, answer_s=0.3))) as follower:
        for number in range(5):  # longer than the deadline of an answer in all
            log.write(make_event(f"number {number}"))
            follower.until(f"number {number}")
            time.sleep(0.1)
