"""The newest frame and no queue; a source that fails is opened again; nothing hangs."""

import threading
import time

import numpy as np
import pytest

from edge_sphereface.errors import SourceError
from edge_sphereface.stream.capture.reader import FrameReader


def read_all(reader, limit_s=20.0):
    frames, end = [], time.monotonic() + limit_s
    while time.monotonic() < end:
        frame = reader.next(0.1)
        if frame is None and reader.ended:
            break
        frames += [frame] if frame is not None else []
    return frames


@pytest.fixture
def reader():
    made = []

    def make(source, **options):
        made.append(FrameReader(lambda: source, first_wait_s=0.05, longest_wait_s=0.4, **options))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        assert one.stop()


def test_every_frame_of_a_recording_as_fast_as_possible(reader, black, fake_source):
    frames = read_all(reader(fake_source([[black] * 50], live=False, fps=25.0), pace=False))
    assert [frame.number for frame in frames] == list(range(50))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(50) / 25)


def test_a_paced_recording_keeps_its_rate(reader, black, fake_source):
    """No frame comes before its time, and what a slow machine delays is dropped instead of shown late."""
    start = time.monotonic()
    one = reader(fake_source([[black] * 20], live=False, fps=50.0), pace=True)
    frames = read_all(one)
    assert all(frame.read_at - start >= frame.time_s for frame in frames)
    assert frames[-1].time_s == pytest.approx(0.38)
    assert len(frames) + one.counts.dropped == 20


@pytest.mark.parametrize(("camera_fps", "limit", "expected"), [(15, 30, 40), (25, 30, 40), (60, 30, 20), (25, 5, 8)])
def test_a_live_source_is_limited_to_a_rate_and_a_slower_one_keeps_its_own(
    black, fake_source, camera_fps, limit, expected
):
    """The next frame is expected, not only the time since the last one looked at."""
    now, ready, taken = [0.0], threading.Semaphore(0), threading.Semaphore(0)

    class Paced(fake_source):
        def read(self):
            taken.release()
            ready.acquire(timeout=20)
            now[0] += 1 / camera_fps
            return super().read()

    one = FrameReader(lambda: Paced([[black] * 400]), fps=limit, clock=lambda: now[0])
    one.start()
    delivered = 0
    assert taken.acquire(timeout=10)
    for number in range(50):
        ready.release()
        assert taken.acquire(timeout=10), "it asks for the next frame once this one was delivered or skipped"
        delivered += number >= 10 and one.next(0.0) is not None
        if number < 10:
            one.next(0.0)
    ready.release(400)
    assert one.stop()
    assert delivered == pytest.approx(expected, abs=1)


def test_a_slow_consumer_of_a_fast_camera_gets_the_newest_frame(reader, black, fake_source, wait_until):
    """Six frames come for each that is taken: it is the sixth, and the others are counted."""
    source, ready = fake_source([[black] * 60]), threading.Semaphore(0)
    take = source.read
    source.read = lambda: ready.acquire(timeout=20) and take()
    one = reader(source)
    for taken in range(10):
        ready.release(6)
        wait_until(lambda: one.counts.dropped == 5 * (taken + 1))  # noqa: B023 -- it is called at once
        assert one.next(1.0).number == 6 * taken + 5
    ready.release()


def test_a_camera_that_ends_is_opened_again_with_growing_waits(reader, black, fake_source):
    source = fake_source([[black], SourceError("no route"), SourceError("no route"), [black] * 3])
    one = reader(source)
    frames, changes, end = [], [], time.monotonic() + 20
    while len(frames) < 2 and time.monotonic() < end:
        frame = one.next(0.02)
        frames += [frame] if frame is not None else []
        changes += one.changes()
        if len(frames) == 1 and source.opened >= 4:
            break
    downs = [change for change in changes if not change.up]
    assert [change.retry_s for change in downs[:3]] == pytest.approx([0.05, 0.1, 0.2])
    assert "no route" in downs[1].reason
    assert changes[0].up
    assert (changes[0].width, changes[0].height) == (64, 48)


def test_numbers_go_on_after_reopening(reader, black, fake_source):
    source = fake_source([[black] * 3, [black] * 3], live=True, interval_s=0.01)
    one = reader(source)
    numbers = []
    while len(numbers) < 4:
        frame = one.next(1.0)
        numbers += [frame.number] if frame is not None else []
    assert numbers == sorted(set(numbers))


def test_a_stalled_source_is_interrupted_and_opened_again(reader, black, fake_source):
    source = fake_source([[black, 60.0], [black] * 1000], interval_s=0.01)
    one = reader(source, stall_s=0.3)
    end = time.monotonic() + 20
    while source.opened < 2 and time.monotonic() < end:
        one.next(0.1)
    assert source.interrupted
    assert source.opened == 2


def test_a_read_that_never_returns_is_left_behind(clock, black, fake_source, wait_until):
    """The thread that hangs gives nothing any more; a new source is read in another."""
    reading, release = threading.Event(), threading.Event()

    class Hanging(fake_source):
        def read(self):
            reading.set()
            release.wait(20)
            return black

        def interrupt(self):
            pass

    made = []

    def make():
        made.append(Hanging([[black]]) if not made else fake_source([[black] * 1000], interval_s=0.01))
        return made[-1]

    one = FrameReader(make, stall_s=10.0, clock=clock)
    one.start()
    assert reading.wait(10)
    clock.ahead_s += 14.0
    wait_until(lambda: one.next(0.1) is not None)
    release.set()
    assert one.stop()
    assert len(made) == 2


def test_a_source_that_hangs_again_and_again_ends_the_stream(clock, black, fake_source):
    """So that whoever watches the process starts it anew: threads that hang cannot be ended."""
    release = threading.Event()

    class Hanging(fake_source):
        def read(self):
            release.wait(20)

    one = FrameReader(lambda: Hanging([[black]]), stall_s=10.0, clock=clock)
    one.start()
    with pytest.raises(SourceError, match="hangs"):
        for _ in range(200):
            one.next(0.05)
            clock.ahead_s += 14.0
    release.set()
    one.stop()


def test_a_source_that_waits_to_be_opened_does_not_hang(clock, black, fake_source, wait_until):
    """Several cameras are opened one after another; one that waits for its turn is not replaced."""
    opening, release = threading.Event(), threading.Event()

    class Waiting(fake_source):
        def open(self):
            self.is_waiting = True
            opening.set()
            release.wait(20)
            self.is_waiting = False
            super().open()

    made = []

    def make():
        made.append(Waiting([[black] * 1000], interval_s=0.01))
        return made[-1]

    one = FrameReader(make, stall_s=10.0, clock=clock)
    one.start()
    assert opening.wait(10)
    for _ in range(5):
        clock.ahead_s += 14.0
        assert one.next(0.01) is None
    release.set()
    wait_until(lambda: one.next(0.1) is not None)
    assert one.stop()
    assert (len(made), made[0].interrupted) == (1, 0)


def test_a_recording_that_cannot_be_read_is_an_error(reader, fake_source):
    one = reader(fake_source([SourceError("no such file")], live=False))
    with pytest.raises(SourceError, match="no such file"):
        read_all(one)


def test_a_camera_that_is_not_there_is_no_error_but_told(reader, fake_source, wait_until):
    one = reader(fake_source([SourceError("Not plugged in.", hint="plug it in")]))
    changes = []
    wait_until(lambda: changes.extend(one.changes()) or changes)
    assert one.next(0.1) is None
    change = changes[0]
    assert (change.reason, change.hint) == ("Not plugged in.", "plug it in")


def test_another_size_in_mid_stream_is_told(reader, black, fake_source):
    big = np.zeros((96, 128, 3), np.uint8)
    one = reader(fake_source([[black, black, big, big]], live=False, fps=25.0), pace=False)
    sizes = {frame.image.shape for frame in read_all(one)}
    assert sizes == {black.shape, big.shape}
    assert [(change.width, change.height) for change in one.changes() if change.up] == [(64, 48), (128, 96)]


def test_fewer_frames_than_the_camera_gives(black, fake_source):
    """Those in between are skipped, not dropped: no image is decoded of them. A clock of its own counts the frames."""
    source, now = fake_source([[black] * 600]), [0.0]
    decoded, skipped = [], []
    take = source.read

    def next_frame(kind):
        now[0] += 0.01
        kind.append(now[0])
        return take()

    source.read = lambda: next_frame(decoded)
    source.skip = lambda: next_frame(skipped) is not None
    one = FrameReader(lambda: source, fps=10.0, reopen=False, clock=lambda: now[0])
    one.start()
    read_all(one)
    assert one.stop()
    assert len(decoded) + len(skipped) == 601, "with the end"
    assert np.diff(decoded) == pytest.approx(0.1, abs=0.025)
    assert abs(len(decoded) - 60) <= 1


class Flood:
    """Reads a source of many frames with a clock that only frames and pauses advance; remembers what was asked when."""

    def __init__(self, source, *, frame_s, work_s, wait=lambda flood: None):
        self.now = self.worked = 0.0
        self.read, self.skipped = [], []
        take = source.read

        def next_frame(kind):
            wait(self)
            self.now += frame_s
            self.worked += work_s
            kind.append(self.now)
            return take()

        source.read = lambda: next_frame(self.read)
        source.skip = lambda: next_frame(self.skipped) is not None
        one = FrameReader(
            lambda: source, fps=30.0, flood_fps=15.0, reopen=False,
            clock=lambda: self.now, work_clock=lambda: self.worked, pause=self.pause,
        )  # fmt: skip
        one.start()
        read_all(one)
        assert one.stop()

    def pause(self, seconds):
        self.now += seconds


def test_a_source_that_never_waits_is_read_as_a_backlog_first_and_then_as_rarely_as_it_is_decoded(black, fake_source):
    """Reading all of its frames would take the time of other cameras."""
    flood = Flood(fake_source([[black] * 8000]), frame_s=0.001, work_s=0.001)
    both = np.sort(flood.read + flood.skipped)
    assert np.diff(both[400:4000]) == pytest.approx(1 / 150, abs=0.0005), "it may be a backlog of a minute"
    assert np.diff(flood.read[:400])[-200:] == pytest.approx(1 / 15, abs=0.012)
    assert np.diff(both[-500:]) == pytest.approx(1 / 15, abs=0.0005)
    assert np.diff(flood.read[-15:]) == pytest.approx(1 / 15, abs=0.0005), "none is skipped"


@pytest.mark.parametrize("backlog_s", [18, 60])
def test_a_long_backlog_ends_at_the_newest_frame(black, fake_source, backlog_s):
    """A camera of 30 frames a second that gives what it recorded before at once, and then what it sees."""
    made_s, ages = iter(np.arange(100 * 30) / 30 - backlog_s), []

    def wait(flood):
        made = next(made_s, flood.now)
        flood.now = max(flood.now, made)
        ages.append(flood.now - made)

    Flood(fake_source([[black] * 100 * 30]), frame_s=0.002, work_s=0.002, wait=wait)
    assert max(ages) >= backlog_s
    assert max(ages[-300:]) < 0.1


@pytest.mark.parametrize(("fps", "work_s"), [(75, 0.010), (100, 0.0075), (120, 0.006)])
def test_a_fast_camera_whose_decoding_takes_most_of_its_period_stays_current(black, fake_source, fps, work_s):
    """Not to mistake it for a source without a rate, for ever: a found fault."""
    made_s, ages = iter(np.arange(120 * fps) / fps), []

    def wait(flood):
        made = next(made_s, flood.now)
        flood.now = max(flood.now, made)
        ages.append(flood.now - made)

    Flood(fake_source([[black] * 120 * fps]), frame_s=work_s, work_s=work_s, wait=wait)
    assert max(ages[-300:]) < 0.1


def test_a_camera_of_a_high_rate_is_read_to_its_newest_frame(black, fake_source):
    """It does not wait for its reader: what is not read becomes old on its way."""
    flood = Flood(fake_source([[black] * 1000]), frame_s=1 / 120, work_s=0.005)
    assert np.diff(np.sort(flood.read + flood.skipped)) == pytest.approx(1 / 120), "without a pause"
    assert np.diff(flood.read[-15:]) == pytest.approx(1 / 15, abs=0.01)


@pytest.mark.parametrize(("fps", "wanted"), [(5.0, 10), (10.0, 20), (25.0, 50), (100.0, 50)])
def test_fewer_frames_of_a_recording_by_its_own_time(reader, black, fake_source, fps, wanted):
    """As fast as possible: the clock of the wall says nothing here."""
    frames = read_all(reader(fake_source([[black] * 50], live=False, fps=25.0), pace=False, fps=fps))
    assert len(frames) == wanted
    gaps = np.diff([frame.time_s for frame in frames])
    assert abs(gaps.mean() - max(1 / fps, 0.04)) < 0.005
    assert [frame.number for frame in frames] == [round(frame.time_s * 25) for frame in frames]
