"""A stream in an event loop: nothing blocks the loop, nothing is lost, and leaving ends the stream in order."""

import asyncio
import json
import threading
from contextlib import aclosing

import pytest

from edge_sphereface import FaceStream, StreamSettings
from edge_sphereface.errors import SourceError, TrackError
from edge_sphereface.stream import FileSink
from edge_sphereface.stream.async_iteration import iterate_in_thread


@pytest.fixture
def stream_of(script, stage, fake_source, gallery_of):
    """A stream that sees Ann for a second, then nobody for two."""

    def make(frames=75, *, live=False, interval_s=0.0, **options):
        acting = script(lambda index: [("ann", stage.face_at(100, 60))] if index < 25 else [])
        source = fake_source(
            [[acting.image(index) for index in range(frames)]], live=live, interval_s=interval_s, fps=25.0
        )
        settings = StreamSettings(pace=False, statistics_s=0.05, reopen=False)
        return FaceStream(
            source, detector=acting, embedder=acting, gallery=gallery_of(acting, ["ann"]), settings=settings, **options
        )

    return make


@pytest.fixture(autouse=True)
def no_thread_is_left(wait_until):
    yield
    wait_until(lambda: "face-stream" not in {thread.name for thread in threading.enumerate()})


def test_all_events_arrive_in_order(stream_of, tmp_path):
    async def collect(stream):
        return [event async for event in stream]

    events = asyncio.run(collect(stream_of(sinks=[FileSink(tmp_path / "events.jsonl")])))
    assert {"source-up", "appeared", "identified", "lost", "source-down", "statistics"} == {e.kind for e in events}
    assert [event.line() for event in events] == (tmp_path / "events.jsonl").read_text().splitlines()
    assert events[-1].final


def test_the_event_loop_goes_on_meanwhile(stream_of):
    """A stream that gives an event seldom, and works long in between, delays no other task."""
    ticked, ran = threading.Event(), []

    def on_frame(_):
        ticked.clear()
        ran.append(ticked.wait(10))

    async def main():
        async def tick():
            while True:
                await asyncio.sleep(0.005)
                ticked.set()

        ticking = asyncio.create_task(tick())
        async for _ in stream_of(on_frame=on_frame, frames=5):
            pass
        ticking.cancel()

    asyncio.run(main())
    assert ran == [True] * 5


def test_leaving_the_loop_ends_the_stream_in_order(stream_of, tmp_path):
    """Its last events, which the consumer does not see, still go to the outputs."""
    stream = stream_of(frames=250, live=True, interval_s=0.01, sinks=[FileSink(tmp_path / "events.jsonl")])

    async def main():
        async with aclosing(aiter(stream)) as events:
            async for event in events:
                if event.kind == "identified":
                    return event.name
        return None

    assert asyncio.run(main()) == "ann"
    assert json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])["final"] is True
    with pytest.raises(TrackError, match="ended"):
        stream.enroll(1, "Ann").result(10)


def test_a_canceled_task_ends_the_stream(stream_of):
    stream = stream_of(frames=250, live=True, interval_s=0.01)

    async def main():
        identified = asyncio.Event()

        async def consume():
            async for event in stream:
                if event.kind == "identified":
                    identified.set()
                    await asyncio.sleep(60)

        task = asyncio.create_task(consume())
        await asyncio.wait_for(identified.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_stream_that_is_left_open_ends_with_its_event_loop(stream_of):
    async def main():
        return await anext(aiter(stream_of(frames=250, live=True, interval_s=0.01)))

    assert asyncio.run(main()).kind == "source-up"


def test_its_error_comes_after_the_events_before_it(script, fake_source, black):
    acting = script(lambda _: [])
    source = fake_source([[black, black, SourceError("The cable was pulled.")]], live=False, fps=25.0)
    stream = FaceStream(source, detector=acting, settings=StreamSettings(pace=False))
    kinds = []

    async def main():
        async for event in stream:
            kinds.append(event.kind)  # noqa: PERF401 -- those before the error count

    with pytest.raises(SourceError, match="cable"):
        asyncio.run(main())
    assert kinds == ["source-up", "source-down", "statistics"]


@pytest.mark.slow
def test_a_stream_runs_once_and_a_second_loop_does_not_stop_the_first(stream_of):
    stream = stream_of(frames=60, live=True, interval_s=0.01)

    async def main():
        kinds = []
        async for event in stream:
            if event.kind == "appeared":
                with pytest.raises(RuntimeError, match="another FaceStream"):
                    await anext(aiter(stream))
            kinds.append(event.kind)
        return kinds

    assert asyncio.run(main()).count("lost") == 1


def test_the_producer_waits_for_a_consumer_that_is_too_far_behind():
    produced = []

    def numbers():
        for number in range(50):
            produced.append(number)
            yield number

    async def main():
        taken = []
        async for number in iterate_in_thread(numbers(), stop=lambda: None, most_ahead=5):
            taken.append(number)
            await asyncio.sleep(0.002)
            assert len(produced) - len(taken) <= 6
        return taken

    assert asyncio.run(main()) == list(range(50))


def test_a_producer_that_waits_for_room_ends_when_the_consumer_leaves():
    async def main():
        stopped = []
        async with aclosing(iterate_in_thread(range(100), stop=lambda: stopped.append(1), most_ahead=1)) as numbers:
            async for number in numbers:
                await asyncio.sleep(0.05)
                if number == 2:
                    break
        return stopped

    assert asyncio.run(main()) == [1]


def test_an_event_loop_that_was_closed_ends_the_stream():
    """No thread waits for ever for a consumer that is gone, and the generator ends without the loop."""
    stopped = threading.Event()

    def numbers():
        while not stopped.wait(0.01):
            yield 0

    loop = asyncio.new_event_loop()
    iterator = iterate_in_thread(numbers(), stop=stopped.set)
    assert loop.run_until_complete(anext(iterator)) == 0
    loop.close()
    assert stopped.wait(10)
    with pytest.raises(StopIteration):
        iterator.aclose().send(None)
