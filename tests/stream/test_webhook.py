"""Events over HTTP: signed, kept until they are accepted, given up when they are refused."""

import base64
import hmac
import http.server
import json
import re
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edge_sphereface.errors import SinkError
from edge_sphereface.stream.outputs.events.dispatcher import EventDispatcher
from edge_sphereface.stream.outputs.events.http_post import HttpAddress, HttpAnswer, HttpPoster
from edge_sphereface.stream.outputs.events.webhook import DeliverySchedule, WebhookSink
from edge_sphereface.stream.outputs.events.webhook_signature import SECRET_VARIABLE, read_secret, signed_headers

SECRET = b"a secret of the tests"
DOCS = Path(__file__).parents[2] / "docs" / "notifications.md"


class Receiver:
    """Answers with the given statuses, then with 204; an error stands for a broken connection."""

    def __init__(self, *answers):
        self.answers, self.received = list(answers), []

    def send(self, body, headers):
        self.received.append((body, headers))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, SinkError):
            raise answer
        return HttpAnswer(status=answer)

    def rest(self):
        pass

    def interrupt(self):
        pass


@pytest.fixture
def hooked(tmp_path):
    """Starts a webhook to a receiver, behind its dispatcher."""
    dispatchers = []

    def start(receiver, **settings):
        sink = WebhookSink(receiver, place="house.lan:443", secret=SECRET, spool=tmp_path / "spool.db", **settings)
        dispatchers.append(EventDispatcher(sink))
        return dispatchers[-1]

    yield start
    for dispatcher in dispatchers:
        dispatcher.close(5.0)


# ---- what is sent -------------------------------------------------------------------------------------------------


def test_events_arrive_in_order_signed_with_the_time_of_sending(make_event, hooked, wait_until):
    receiver = Receiver()
    dispatcher = hooked(receiver, unix_clock=lambda: 1.7e9)
    events = [make_event(), make_event("mañana")]
    for event in events:
        dispatcher.give(event)
    wait_until(lambda: len(receiver.received) == 2)
    wait_until(lambda: dispatcher.pending() == 0)
    assert [body.decode() for body, _ in receiver.received] == [event.line() for event in events]
    for body, headers in receiver.received:
        signed = f"{headers['webhook-id']}.1700000000.".encode() + body
        expected = base64.b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert headers["Content-Type"] == "application/json"


@pytest.mark.slow
@pytest.mark.parametrize("next_answers", [(), (503,) * 9], ids=["at rest", "while the next is refused"])
def test_a_delivered_event_leaves_the_files_while_the_webhook_runs(
    make_event, hooked, wait_until, tmp_path, clock, next_answers
):
    receiver = Receiver(204, *next_answers)
    dispatcher = hooked(receiver, clock=clock)
    dispatcher.give(make_event("Ann"))
    wait_until(lambda: receiver.received and dispatcher.pending() == 0)
    assert b"Ann" in b"".join(path.read_bytes() for path in tmp_path.glob("spool.db*"))
    if next_answers:
        dispatcher.give(make_event("Bo"))
        wait_until(lambda: len(receiver.received) == 2)
    clock.ahead_s += 31
    wait_until(lambda: b"Ann" not in b"".join(path.read_bytes() for path in tmp_path.glob("spool.db*")))
    assert dispatcher.pending() == bool(next_answers)


def test_only_the_kinds_that_were_asked_for_are_kept(make_event, hooked, wait_until):
    receiver = Receiver()
    dispatcher = hooked(receiver, kinds={"identified"})
    dispatcher.give(make_event())
    wait_until(lambda: dispatcher.pending() == 0)
    assert dispatcher.close(5.0) == 0
    assert receiver.received == []


def test_what_is_not_accepted_is_sent_by_the_next_run_under_the_same_id(make_event, hooked, wait_until):
    away = Receiver(SinkError("no answer: refused"))
    first = hooked(away)
    first.give(make_event())
    wait_until(lambda: "webhook house.lan:443: no answer: refused" in first.problem)
    first.close(5.0)
    assert (first.pending(), first.dropped) == (1, 0)
    there = Receiver()
    second = hooked(there)
    wait_until(lambda: second.pending() == 0)
    ((body, headers),) = there.received
    assert body == away.received[0][0]
    assert headers["webhook-id"] == away.received[0][1]["webhook-id"]


# ---- when it is sent again ----------------------------------------------------------------------------------------


def test_waits_grow_while_nobody_answers_and_end_with_success():
    schedule = DeliverySchedule()
    assert [schedule.unanswered("away") for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert schedule.problem == "away"
    assert schedule.answered(HttpAnswer(status=200)) == (True, 0)
    assert (schedule.problem, schedule.unanswered("away")) == ("", 1)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_an_error_of_the_server_is_tried_again_for_ever(status):
    schedule = DeliverySchedule()
    answers = [schedule.answered(HttpAnswer(status=status)) for _ in range(50)]
    assert not any(is_finished for is_finished, _ in answers)
    assert schedule.given_up == 0
    assert f"HTTP {status}" in schedule.problem


@pytest.mark.parametrize(
    ("text", "wait_s"), [("30", 30), ("0", 1), ("86400", 600), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("9" * 99, 1)]
)
def test_a_receiver_may_ask_for_a_longer_wait(text, wait_s):
    assert DeliverySchedule().answered(HttpAnswer(status=429, retry_after=text)) == (False, wait_s)


@pytest.mark.parametrize(("status", "word"), [(301, "redirects"), (401, "refuses"), (413, "refuses")])
def test_a_refused_event_is_given_up_and_the_next_one_is_not_hurried(status, word):
    """So that a wrong address costs one event in five minutes, and not all of them."""
    schedule = DeliverySchedule()
    answers = [schedule.answered(HttpAnswer(status=status)) for _ in range(10)]
    assert [is_finished for is_finished, _ in answers] == ([False] * 4 + [True]) * 2
    assert [wait_s for _, wait_s in answers] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert word in schedule.problem
    assert schedule.given_up == 2
    schedule.answered(HttpAnswer(status=204))
    assert schedule.problem == ""


# ---- HTTP ---------------------------------------------------------------------------------------------------------


@contextmanager
def serving(answer, *, certificates=None):
    """A server whose handler calls ``answer(handler)``; gives its port, and path and client of each request."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.client_address))
            answer(self)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answers(status, *headers, body=b""):
    def answer(handler):
        handler.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def poster():
    """Makes what posts to a server of this machine."""
    made = []

    def make(port, *, place="http://127.0.0.1", ca_file=None, timeout_s=10.0):
        address = HttpAddress.parse(f"{place}:{port}/in?token=t")
        made.append(HttpPoster(address, ca_file=ca_file, timeout_s=timeout_s))
        return made[-1]

    yield make
    for post in made:
        post.rest()


def test_one_connection_serves_until_it_rests(poster):
    with serving(answers(200, body=b"thanks")) as (port, asked):
        post = poster(port)
        for _ in range(2):
            assert post.send(b"{}", {}).status == 200
        post.rest()
        post.send(b"{}", {})
        post.rest()
    assert [path for path, _ in asked] == ["/in?token=t"] * 3
    assert asked[0][1] == asked[1][1] != asked[2][1]


def test_a_redirect_is_an_answer_and_not_followed(poster):
    with serving(answers(307, ("Location", "/elsewhere"), ("Retry-After", "7"))) as (port, asked):
        answer = poster(port).send(b"{}", {})
    assert answer == HttpAnswer(status=307, retry_after="7")
    assert [path for path, _ in asked] == ["/in?token=t"]


def test_an_answer_without_end_is_not_read_to_its_end(poster):
    with serving(answers(200, body=b"x" * (1 << 20))) as (port, asked):
        post = poster(port)
        assert [post.send(b"{}", {}).status for _ in range(2)] == [200, 200]
    assert asked[0][1] != asked[1][1]


def test_a_server_that_answers_byte_by_byte_has_no_more_time(poster):
    over = threading.Event()

    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        with suppress(OSError):
            while not over.wait(0.02):
                handler.wfile.write(b"y")

    with serving(drip) as (port, _):
        with pytest.raises(SinkError, match=r"no answer within 0\.3 s"):
            poster(port, timeout_s=0.3).send(b"{}", {})
        over.set()


def test_only_a_server_that_proves_its_name_gets_events(certificates, poster):
    """By the authority that was named; by another name, or without that authority, nothing is sent."""
    with serving(answers(204), certificates=certificates) as (port, asked):
        for place, ca_file in (("https://localhost", None), ("https://127.0.0.1", certificates / "ca.pem")):
            with pytest.raises(SinkError, match="certificate verify failed"):
                poster(port, place=place, ca_file=ca_file).send(b"{}", {})
        assert asked == []
        post = poster(port, place="https://localhost", ca_file=certificates / "ca.pem")
        assert post.send(b"{}", {}).status == 204
    with pytest.raises(SinkError, match="Cannot use the certificates"):
        poster(port, place="https://localhost", ca_file=certificates / "missing.pem")


def test_nobody_there_is_told(poster):
    with serving(answers(204)) as (port, _):
        pass
    with pytest.raises(SinkError, match=r"no answer: .*refused"):
        poster(port).send(b"{}", {})


@pytest.mark.parametrize(
    ("text", "place", "target"),
    [
        ("https://house.lan", "house.lan:443", "/"),
        ("http://[::1]:8123/api/webhook/x?y=1", "[::1]:8123", "/api/webhook/x?y=1"),
        ("HTTPS://House.lan:8443?a", "house.lan:8443", "/?a"),
    ],
)
def test_an_address_is_read(text, place, target):
    address = HttpAddress.parse(text)
    assert (address.place, address.target) == (place, target)


@pytest.mark.parametrize(
    "text",
    [
        "house.lan/secret",
        "ftp://house.lan/secret",
        "https:///secret",
        "http://house.lan:0/secret",
        "http://h:99999/secret",
    ]
    + [
        "http://house.lan/secret#x",
        "http://house.lan/sec ret",
        "http://house.lan/secret\r\nX: 1",
        "http://ho\u00fcse/secret",
    ]
    + ["http://ann:secret@house.lan/", "http://house.lan/" + "secret" * 1000],
)
def test_another_form_is_refused_and_not_repeated(text):
    with pytest.raises(SinkError, match="Expected an address") as refusal:
        HttpAddress.parse(text)
    assert "secret" not in str(refusal.value)


# ---- the secret, and the receiver ---------------------------------------------------------------------------------


def test_a_secret_comes_from_a_file_or_the_environment(tmp_path):
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o600)
    assert read_secret(file, {SECRET_VARIABLE: "x" * 20}) == b"0123456789abcdef"
    assert read_secret(None, {SECRET_VARIABLE: "whsec_" + base64.b64encode(SECRET).decode()}) == SECRET
    for environment in ({}, {SECRET_VARIABLE: "short"}, {SECRET_VARIABLE: "whsec_no base64 at all!!"}):
        with pytest.raises(SinkError, match=f"at least 16 bytes in the variable {SECRET_VARIABLE}"):
            read_secret(None, environment)
    file.chmod(0o644)
    with pytest.raises(SinkError, match="mode 0644"):
        read_secret(file, {})


@pytest.mark.checkout
def test_the_documented_receiver_takes_what_we_sign_and_nothing_else(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?def is_genuine.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(code, DOCS, "exec"), names)
    is_genuine, now = names["is_genuine"], 1.7e9
    body = json.dumps({"event": "identified"}).encode()
    headers = signed_headers(body, secret=SECRET, unix_time=now)
    assert is_genuine(headers, body, SECRET, now=now + 299)
    file = tmp_path / "webhook.secret"
    file.write_bytes(SECRET + b"\n")  # as openssl writes it
    file.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    (usage,) = re.findall(r"Path\(.*", is_genuine.__doc__)
    assert is_genuine(signed_headers(body, secret=read_secret(file, {}), unix_time=now), body, eval(usage), now=now)
    assert not is_genuine(headers, body, SECRET, now=now + 301)
    assert not is_genuine(headers, body, SECRET, now=now - 301)
    assert not is_genuine(headers, body + b" ", SECRET, now=now)
    assert not is_genuine(headers, body, b"another secret of it", now=now)
    assert not is_genuine({**headers, "webhook-timestamp": str(int(now) + 1)}, body, SECRET, now=now)
    assert not is_genuine({**headers, "webhook-id": "x"}, body, SECRET, now=now)
    assert not is_genuine({}, body, SECRET, now=now)
