"""What a source or a broker is, and that a password is never part of its name."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sphereface.errors import SinkError, SourceError
from edge_sphereface.redaction import has_credentials, redact
from edge_sphereface.stream.capture.address import SourceKind, kind_of, printable
from edge_sphereface.stream.capture.gstreamer import command_words
from edge_sphereface.stream.outputs.events.mqtt import Broker, MqttSink


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0", SourceKind.CAMERA),
        ("/dev/video2", SourceKind.CAMERA),
        ("rtsp://host/stream", SourceKind.NETWORK),
        ("http://host:8080/mjpeg", SourceKind.NETWORK),
        ("libcamerasrc ! video/x-raw,width=640", SourceKind.PIPELINE),
        ("rtspsrc location=rtsp://a/b ! decodebin", SourceKind.PIPELINE),
        ("film.mp4", SourceKind.FILE),
        ("/", SourceKind.FOLDER),
    ],
)
def test_the_kind_is_told_by_the_address(address, kind):
    assert kind_of(address) is kind


@pytest.mark.parametrize("address", ["", "  ", "ftp://host/film.mp4", "javascript://x"])
def test_what_nothing_reads_is_refused_with_what_is_read(address):
    with pytest.raises(SourceError, match="camera's number"):
        kind_of(address)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:s3cret@10.0.0.2:554/live",
        "rtsp://admin:s3cret%40x@host/live?channel=1",
        "http://host/video?user=admin&password=s3cret",
        "http://host/video?t=s3cret",
        "https://s3cret@host/stream",
        "rtsp://[broken:s3cret@host",
        "rtspsrc location=rtsp://admin:s3cret@host/live ! decodebin",
        "rtspsrc location=rtsp://host/live user-id=admin user-pw=s3cret ! decodebin",
        'rtspsrc location=rtsp://host/live user-pw="s3cret and more s3cret" ! decodebin',
        "souphttpsrc location=http://h/x?token=s3cret ! decodebin",
        "rtsp://host:554/user=admin&password=s3cret&channel=1",
        "rtsp://host:554/user=admin_password=s3cret_channel=1_stream=0.sdp",
        "rtsp://admin:pa/s3cret#s3cret?s3cret@host/live",
        "rtsp://admin:1/s3cret@host/live",
        "rtsp://admin:two words s3cret@host/live",
    ],
)
def test_no_password_is_printed(address):
    assert "s3cret" not in printable(address)
    assert has_credentials(address) or "?" in address


JUNK = st.text(alphabet="ab1:/@!%&=?#[] .,;\\'\"\\\\", max_size=12)


@given(JUNK, JUNK, JUNK)
def test_a_password_of_any_form_stays_hidden(before, after, path):
    """As a source, in a message about it, and in the path."""
    address = f"rtsp://user:{before}hunter2{after}@host/{path}"
    assert "hunter2" not in printable(address)
    assert "hunter2" not in redact(f"cannot open {address}: refused")
    assert "hunter2" not in redact(f"unexpected {address!r}")
    in_path = f"rtsp://host:554/{path.replace(' ', '')}/user=admin&password={before.replace(' ', '')}hunter2"
    assert "hunter2" not in printable(in_path)
    assert "hunter2" not in redact(f"cannot open {in_path}: refused")


HINTS = ["in a password, write / as %2F and @ as %40", "is the path right?"]


@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:s3cret@127.0.0.1:9/stream", "rtsp://***@127.0.0.1:9/stream"),
        ("rtsp://user:s/3 cr@t@host/live?x=1", "rtsp://***"),
        ("http://host/video?t=s3cret", "http://host/video?***"),
        (
            "rtspsrc location=rtsp://u:s3cret@h/a user-pw=s3cret ! fakesink",
            "rtspsrc location=rtsp://***@h/a user-pw=***",
        ),
    ],
)
def test_a_redacted_address_keeps_the_sentence_around_it(address, shown, hint):
    """However often the sentence is redacted again."""
    sentence = f"Cannot open {printable(address)}. ({hint})"
    assert shown in sentence
    assert redact(sentence) == sentence


def test_an_address_without_a_password_keeps_the_sentence_too():
    sentence = f"Cannot open rtsp://127.0.0.1:9/stream. ({HINTS[0]}); trying again in 1 s"
    assert redact(sentence) == sentence


@pytest.mark.parametrize(
    "text",
    [
        "There is no gallery key=abc.db.",
        "The gallery holds nobody named 'key=abc', 'user=ann'.",
        "write one option a line: key = value; text stands in quotes",
        "monkey=1 author=ann login=x auth=none",
    ],
)
def test_prose_and_names_of_files_stay(text):
    assert redact(text) == text
    assert not has_credentials(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nobody named 'token=abc', 'x'.", "nobody named 'token=***', 'x'."),
        ("GET /video?key=abc&x=1 failed", "GET /video?key=*** failed"),
        ('{"password": "a b", "x": 1}', '{"password": ***, "x": 1}'),
        ("db_password=abc.", "db_password=***."),
        ("api-key=abc user-id=ann", "api-key=*** user-id=***"),
    ],
)
def test_credentials_in_prose_go_and_its_quotes_stay(text, shown):
    assert redact(text) == redact(shown) == shown


def test_what_an_address_hides_is_hidden_before_a_mail_address():
    assert redact("rtsp://***@host/live. (ask ann@site)") == "rtsp://***@host/live. (ask ann@site)"


def test_a_pipeline_shows_no_user():
    assert printable("src username=ann auth=abc ! fakesink") == "src username=*** auth=*** ! fakesink"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a:// ", "a://:", "a", "a-", "user=", "x://" + ":" * 50, "password :", "a@b://"])
def test_redaction_takes_no_time_of_note(text):
    began = time.process_time()
    redact(text * (1 << 16))
    assert time.process_time() - began < 20  # some seconds at most; quadratic time would be hours


def test_a_harmless_address_is_printed_as_it_is():
    assert printable("rtsp://host:554/live") == "rtsp://host:554/live"
    assert printable("v4l2src device=/dev/video0 ! videoconvert") == "v4l2src device=/dev/video0 ! videoconvert"


def test_a_pipeline_ends_in_our_own_sink():
    """Whatever sink stood there; quotes hold words together; no shell sees them."""
    words = command_words("videotestsrc pattern='ball in motion' ! video/x-raw,width=64 ! appsink drop=true")
    assert words[:3] == ["videotestsrc", "pattern=ball in motion", "!"]
    assert "appsink" not in words
    assert words[-3:] == ["fdsink", "fd=1", "sync=false"]


@pytest.mark.parametrize("pipeline", ["a ! ! b", " ! a", "a 'open ! b"])
def test_a_pipeline_that_cannot_be_read_is_refused(pipeline):
    with pytest.raises(SourceError, match="pipeline"):
        command_words(pipeline)


@pytest.mark.parametrize(
    "address",
    [
        *("", "host", "http://host", "mqtt://", "mqtt://h:x", "mqtt://h/a/#", "mqtt://[h", "mqtt://a..b"),
        *("mqtt://user:12/s3cret@host", "mqtt://user:12#s3cret@host", "mqtt://h/?x", f"mqtt://h/{'a' * 2000}"),
    ],
)
def test_a_broker_of_another_form_is_refused(address):
    with pytest.raises(SinkError, match="Expected a broker"):
        Broker.parse(address, stream="x")


def test_a_broker_is_read_from_its_address(monkeypatch):
    broker = Broker.parse("mqtts://ann:p%40ss@host/house/door", stream="x")
    assert (broker.host, broker.port, broker.tls, broker.user) == ("host", 8883, True, "ann")
    assert (broker.password, broker.topic) == ("p@ss", "house/door")
    monkeypatch.setenv("EDGE_SPHEREFACE_MQTT_PASSWORD", "from the environment")
    broker = Broker.parse("mqtt://ann@host", stream="door")
    assert (broker.port, broker.password, broker.topic) == (1883, "from the environment", "edge_sphereface/door")
    assert "environment" not in MqttSink(broker, spool=None).name
