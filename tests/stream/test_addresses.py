"""What a source or a broker is, and that a password is never part of its name."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sphereface.errors import SinkError, SourceError
from edge_sphereface.redaction import has_credentials, redact
from edge_sphereface.stream.sinks.mqtt import Broker, MqttSink
from edge_sphereface.stream.sources.address import SourceKind, kind_of, printable
from edge_sphereface.stream.sources.gstreamer import command_words


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
