"""What Home Assistant's entities say while cameras, people and the broker come and go."""

from dataclasses import replace

import pytest

from edge_sphereface.errors import GalleryError
from edge_sphereface.stream.outputs.events.home_assistant.state import Subject

ON_ARRIVAL = {"cameras": ["door"], "camera": "door", "seen": "2026-11-27T12:00:00.000Z", "in_sight": "ON"}


class Images:
    """Images of faces, each taken once."""

    def __init__(self, newest):
        self.newest = newest

    def take_newest(self):
        found, self.newest = self.newest, {}
        return found


def test_enrolled_people_have_entities_before_anybody_was_seen(entities):
    made = entities()
    assert made.state("Ann", "In sight") == {"in_sight": "OFF", "cameras": [], "seen": None, "camera": None}
    assert made.config("Ann", "In sight")["device_class"] == "occupancy"
    assert made.config("Bob", "Last seen")["device_class"] == "timestamp"
    assert made.config("Bob", "Last camera")["state_topic"] == made.config("Bob", "In sight")["state_topic"]
    assert made.state("door", "Unknown faces") == "0"
    assert made.state("edge_sphereface", "Enrolled people") == {"enrolled": 2, "announced": 2}


def test_a_camera_says_who_is_in_sight(entities, events):
    made, door = entities(), events("door")
    made.give(
        door.up(), door.appeared(1), door.appeared(2), door.appeared(3), door.identified(1, "Ann"), door.unknown(2)
    )
    assert made.state("door", "Faces") == {"faces": 3, "unknown": 1, "names": ["Ann"], "names_omitted": 0}
    assert made.state("door", "Frames") == "online"
    made.give(door.lost(1, "Ann"), door.lost(3))
    assert made.state("door", "Faces") == {"faces": 1, "unknown": 1, "names": [], "names_omitted": 0}
    made.give(door.lost(2), door.down())
    assert made.state("door", "Frames") == "offline"
    assert made.config("door", "Faces")["availability"] == [
        {"topic": "house/faces/status"},
        {"topic": made.config("door", "Frames")["state_topic"]},
    ]


def test_a_camera_says_how_many_faces_look_like_pictures(entities, events):
    made, door = entities(), events("door")
    made.give(
        door.up(), replace(door.unknown(1), liveness="spoof"), replace(door.identified(2, "Ann"), liveness="live")
    )
    assert made.state("door", "Faces")["spoof"] == 1
    made.give(door.lost(1))
    assert made.state("door", "Faces")["spoof"] == 0


def test_a_person_is_in_sight_until_the_window_ends(entities, events):
    made, door = entities(presence_window=30.0), events("door")
    made.give(door.identified(1, "Ann"))
    assert made.state("Ann", "In sight") == ON_ARRIVAL
    door.at, made.now_s = 5.0, 5.0
    made.give(door.lost(1, "Ann"))
    gone = {**ON_ARRIVAL, "cameras": [], "seen": "2026-11-27T12:00:05.000Z"}
    made.now_s = 34.9
    made.sink.look()
    assert made.state("Ann", "In sight") == gone
    made.now_s = 35.0
    made.sink.look()
    assert made.state("Ann", "In sight") == {**gone, "in_sight": "OFF"}


def test_a_person_who_goes_from_camera_to_camera_stays_in_sight(entities, events):
    made = entities(presence_window=0.0)
    made.cameras.append(Subject(name="yard", mark="rtsp://yard"))
    door, yard = events("door"), events("yard")
    made.give(door.identified(1, "Ann"), yard.identified(9, "Ann"), door.lost(1, "Ann"))
    assert made.state("Ann", "In sight")["cameras"] == ["yard"]
    made.give(yard.lost(9, "Ann"))
    assert made.state("Ann", "In sight")["in_sight"] == "OFF"


def test_two_faces_of_one_name_leave_one_by_one(entities, events):
    made, door = entities(presence_window=0.0), events("door")
    made.give(door.identified(1, "Ann"), door.identified(2, "Ann"), door.lost(1, "Ann"))
    assert made.state("Ann", "In sight")["in_sight"] == "ON"
    made.give(door.lost(2, "Ann"))
    assert made.state("Ann", "In sight")["in_sight"] == "OFF"


def test_a_face_that_turns_out_to_be_somebody_else_moves_the_presence(entities, events):
    made, door = entities(presence_window=0.0), events("door")
    made.give(door.identified(1, "Ann"), door.identified(1, "Bob"))
    assert [made.state(name, "In sight")["in_sight"] for name in ("Ann", "Bob")] == ["OFF", "ON"]
    made.give(door.unknown(1))
    assert made.state("Bob", "In sight")["in_sight"] == "OFF"
    assert made.state("door", "Faces")["unknown"] == 1


@pytest.mark.parametrize("end", ["down", "run", "final", "empty"])
def test_whoever_was_in_sight_when_events_ended_does_not_stay_for_ever(entities, events, end):
    """The source failed, the process was killed, the stream ended, or the event of the leaving was lost."""
    made, door = entities(presence_window=0.0), events("door")
    made.give(door.up(), door.identified(1, "Ann"))
    last = {
        "down": door.down(),
        "run": events("door", run="00000002").up(),
        "final": door.statistics(final=True),
        "empty": door.statistics(faces=0),
    }
    made.give(last[end])
    assert made.state("Ann", "In sight")["in_sight"] == "OFF"
    assert made.state("door", "Faces")["faces"] == 0


def test_unknown_faces_are_counted_once_each_and_over_restarts(entities, events):
    made, door = entities(), events("door")
    made.give(door.unknown(1), door.unknown(1), door.unknown(2), door.identified(2, "Ann"), door.unknown(2))
    assert made.state("door", "Unknown faces") == "2"
    made.sink.close()
    made.start().give(events("door", run="00000002").unknown(1))
    assert made.state("door", "Unknown faces") == "3"


def test_the_last_sighting_outlives_a_restart(entities, events):
    made, door = entities(), events("door")
    made.give(door.identified(1, "Ann"))
    made.sink.close()
    made.start()
    assert made.state("Ann", "In sight") == {**ON_ARRIVAL, "cameras": [], "in_sight": "OFF"}


def test_the_last_sighting_of_somebody_who_stays_is_renewed_once_a_minute(entities, events):
    made, door = entities(), events("door")
    made.give(door.identified(1, "Ann"))
    for door.at, seen in ((59.0, "12:00:00"), (60.0, "12:01:00")):
        made.give(door.statistics())
        assert made.state("Ann", "In sight")["seen"] == f"2026-11-27T{seen}.000Z"


def test_diagnostics_follow_the_statistics(entities, events):
    made, door = entities(), events("door")
    made.give(door.statistics(problems=["the broker is away"]))
    assert made.state("door", "Frame rate") == {"fps": 9.5, "work_ms": 20.25, "problems": ["the broker is away"]}


def test_somebody_who_is_enrolled_or_removed_while_it_runs(entities, events):
    """A changed number is noticed at the next look; a removed person leaves nothing at the broker."""
    made, door = entities(), events("door")
    made.give(door.identified(1, "Bob"))
    made.people[1:] = [Subject(name="Cid", mark="friday"), Subject(name="Dan", mark="friday")]
    made.sink.look()
    assert made.config("Cid", "In sight")
    assert not any(
        b"Bob" in payload for topic, payload in made.retained.items() if "/config" in topic or "person" in topic
    )
    made.sink.look()
    made.sink.close()
    made.start()
    assert sum(not payload for payload in made.deliver().sent.values()) == 0  # the removals have arrived


def test_somebody_removed_while_it_did_not_run_is_removed_at_the_start(entities):
    made = entities().deliver()
    made.sink.close()
    del made.people[0]
    made.start().deliver()
    assert not any(b"Ann" in payload for payload in made.retained.values())


def test_without_gallery_and_cameras_what_an_earlier_run_announced_is_removed(entities):
    made = entities().deliver()
    made.sink.close()
    made.cameras.clear()
    made.people = None
    made.start()
    assert {config["device"]["name"] for config in made.configs().values()} == {"edge_sphereface"}
    assert made.state("edge_sphereface", "Enrolled people") == {"enrolled": 0, "announced": 0}


def test_renaming_a_person_or_a_camera_keeps_the_entities(entities, events):
    made, door = entities(), events("door")
    made.give(door.up(), door.identified(1, "Ann"), door.unknown(2))
    before = made.configs().keys()
    made.people[0] = Subject(name="Änn/+#", mark="monday")
    made.cameras[:] = [Subject(name="front door", mark="rtsp://door")]
    made.now_s = 61.0
    made.sink.look()
    assert made.configs().keys() == before
    assert made.state("Änn/+#", "In sight")["seen"] == ON_ARRIVAL["seen"]
    assert made.state("front door", "Unknown faces") == "1"


def test_a_camera_that_is_renamed_while_it_runs_may_be_away_for_a_moment(entities):
    made = entities()
    before = made.configs().keys()
    made.cameras.clear()
    made.sink.look()
    made.cameras.append(Subject(name="front door", mark="rtsp://door"))
    made.now_s = 10.0
    made.sink.look()
    assert made.configs().keys() == before
    assert made.config("front door", "Faces")


def test_a_camera_that_is_removed_takes_its_entities_along(entities, events):
    made, door = entities(presence_window=0.0), events("door")
    made.give(door.up(), door.identified(1, "Ann")).deliver()
    made.cameras.clear()
    made.sink.look()
    assert made.config("door", "Faces")
    made.now_s = 30.0
    made.sink.look()
    made.give(door.identified(2, "Bob"))
    assert made.state("Ann", "In sight")["in_sight"] == made.state("Bob", "In sight")["in_sight"] == "OFF"
    assert not any("/camera/" in topic for topic in made.retained)
    assert {config["device"]["name"] for config in made.configs().values()} == {"Ann", "Bob", "edge_sphereface"}


def test_everything_is_sent_again_when_home_assistant_starts(entities):
    made = entities().deliver()
    listener = made.sink.retained.listen["homeassistant/status"]
    listener(b"offline")
    made.sink.look()
    assert made.deliver().sent == {}
    listener(b"online")
    made.sink.look()
    assert made.deliver().sent.keys() == made.retained.keys()


def test_many_people_are_announced_up_to_the_bound_and_that_is_said(entities, events):
    """Those enrolled first, so that nobody who was announced makes room for somebody new."""
    made = entities()
    made.people += [Subject(name=f"person {i}", mark=f"x{i:05}") for i in range(9_998)]
    assert made.sink.problem == ""
    made.sink.look()
    assert made.sink.problem == "only the 500 people enrolled first are announced"
    assert made.state("edge_sphereface", "Enrolled people") == {"enrolled": 10_000, "announced": 500}
    assert made.config("person 497", "In sight")
    made.give(events("door").identified(1, "person 498"))
    assert made.state("door", "Faces")["names"] == ["person 498"]
    assert len(made.configs()) == 2 + 6 + 1500
    del made.people[500:]
    made.sink.look()
    assert made.sink.problem == ""


def test_a_limit_that_announces_nobody_is_no_problem(entities):
    assert entities(home_assistant_people=0).sink.problem == ""
    assert entities(home_assistant_people=1).sink.problem != ""


def test_a_gallery_that_fails_is_a_problem_until_it_answers(entities):
    made = entities()
    made.now_s, made.failure = 61.0, GalleryError("the server is away.")
    made.sink.look()
    assert "the gallery cannot be read: the server is away." in made.sink.problem
    assert made.config("Ann", "In sight")
    made.failure = None
    made.sink.look()
    assert made.sink.problem == ""


def test_only_images_that_were_asked_for_are_sent_and_the_broker_keeps_none(entities):
    images = Images({"door": b"\xff\xd8 a face", "elsewhere": b"\xff\xd8"})
    made = entities(images=images)
    topic = made.config("door", "Face")["image_topic"]
    assert made.sent[topic] == b"\xff\xd8 a face"
    assert topic not in made.retained
    made.sink.close()
    without = entities()
    assert "Face" not in {config["name"] for config in without.configs().values()}
