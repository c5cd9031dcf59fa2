"""Following, embedding and deciding: who is in front of the camera, with how few embeddings."""

import itertools
import os
from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.errors import OutputError, ThresholdError, TrackError
from edge_sphereface.gallery import Candidate, open_gallery
from edge_sphereface.quality import assess, geometry, sharpness
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.recognition.compute_budget import LEVELS, ComputeBudget
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor
from edge_sphereface.stream.recognition.policy import decide_identity, worth_embedding
from edge_sphereface.stream.schedule import Schedule
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings, TrackingSettings
from edge_sphereface.stream.tracking.track import TrackState
from edge_sphereface.stream.tracking.tracker import Tracker

EVERY_FRAME = StreamSettings(tracking=TrackingSettings(detect_fps=25.0))


def go_on(processor, acting, stage, first, last):
    """Further frames of a processor; gives what it told."""
    results = [processor.step(stage.frame_of(index, acting.image(index))) for index in range(first, last)]
    return [(event.kind, getattr(event, "name", None)) for result in results for event in result.events]


@pytest.fixture
def play(script, gallery_of, stage):
    """Run a processor over frames; gives the processor, the script and the events as (frame, kind, name)."""

    def run(people, frames, *, settings=EVERY_FRAME, enrolled=("ann", "bob"), fps=25.0, scenery=lambda _: 7):
        acting = script(people, scenery)
        gallery = gallery_of(acting, enrolled)
        processor = FrameProcessor(
            detector=acting, embedder=acting, gallery=gallery, settings=settings, events=EventMaker("test")
        )
        told = []
        for index in range(frames):
            result = processor.step(stage.frame_of(index, acting.image(index), fps))
            told += [(index, event.kind, getattr(event, "name", None)) for event in result.events]
        return processor, acting, told

    return run


def kinds(told, *wanted):
    return [(kind, name) for _, kind, name in told if kind in wanted]


def test_somebody_comes_is_identified_and_leaves(play, stage):
    there = stage.face_at(100, 60)
    processor, _acting, told = play(lambda i: [("ann", there)] if i < 50 else [], 100)
    assert [kind for _, kind, _ in told] == ["appeared", "identified", "lost"]
    assert told[1][2] == told[2][2] == "ann"
    assert told[0][0] == 1, "two detections make a face"
    assert 70 <= told[2][0] <= 80, "a second after the last sign"
    assert not processor.tracks


def test_few_embeddings_for_a_face_that_stays(play, stage):
    """Ten seconds at 25 frames a second: a tenth of an embedding for each frame would be 25."""
    _, acting, told = play(lambda i: [("ann", stage.face_at(100, 60))], 250)
    assert len(acting.embedded) <= 3
    assert kinds(told, "identified", "unknown") == [("identified", "ann")]


def test_a_stranger_is_unknown_after_enough_looks(play, stage):
    _, acting, told = play(lambda i: [("cid", stage.face_at(100, 60))], 60)
    assert kinds(told, "identified", "unknown") == [("unknown", None)]
    assert len(acting.embedded) >= 2


def test_one_detection_alone_is_no_face(play, stage):
    _, acting, told = play(lambda i: [("ann", stage.face_at(100, 60))] if i == 10 else [], 60)
    assert told == []
    assert acting.embedded == []


def test_detections_are_as_rare_as_asked_and_the_face_is_followed_between(play, stage):
    settings = StreamSettings(tracking=TrackingSettings(detect_fps=5.0))
    _processor, acting, told = play(lambda i: [("ann", stage.face_at(60 + i, 60))], 50, settings=settings)
    assert len(acting.detections) == 11, "a face that was seen once is looked for in the next frame"
    assert told[0][:2] == (1, "appeared")
    assert kinds(told, "appeared", "lost") == [("appeared", None)]


def test_two_who_cross_keep_their_names_or_get_new_numbers(play, stage):
    """Whatever the tracker takes them for: in the end each face has the right name."""

    def people(i):
        return [("ann", stage.face_at(10 + 4 * i, 60)), ("bob", stage.face_at(210 - 4 * i, 70))]

    processor, _, _told = play(people, 50)
    names = {track.name: float(track.face.landmarks[:, 0].mean()) for track in processor.tracks}
    assert names["ann"] > names["bob"]


def test_two_who_stand_side_by_side_are_named(play, stage):
    """Their boxes overlap all the time, as of two who put their heads together for a photograph."""
    beside = [("ann", stage.face_at(60, 60)), ("bob", stage.face_at(60 + 58, 62))]
    processor, _acting, told = play(lambda _: beside, 100)
    assert sorted(track.name for track in processor.tracks) == ["ann", "bob"]
    assert all(index >= 50 for index, kind, _ in told if kind == "identified"), "two seconds: they do not pass by"


def test_arrays_of_a_track_that_was_returned_cannot_be_changed(play, stage):
    """The tracker goes on with its own."""
    processor, acting, _ = play(lambda _: [("ann", stage.face_at(100, 60))], 20)
    (track,) = processor.step(stage.frame_of(20, acting.image(20))).tracks
    for array in (track.face.box, track.face.landmarks):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_somebody_else_in_the_same_place_is_another_face(play, stage):
    """A track is one person: when another sits down behind a hand, the old one is lost and a new one appears."""
    there = stage.face_at(100, 60)
    _, _, told = play(lambda i: [("ann" if i < 40 else "bob", there)] if not 40 <= i < 55 else [], 100)
    assert kinds(told, "identified", "lost") == [("identified", "ann"), ("lost", "ann"), ("identified", "bob")]


@pytest.mark.parametrize("fps", [1.0, 2.0])
def test_another_person_in_the_same_place_at_a_low_frame_rate_is_another_face(play, stage, fps):
    """Nothing vouches for a face over a gap of half a second, even though no detection was missed."""
    there, change = stage.face_at(100, 60), round(6 * fps)
    _, _, told = play(
        lambda i: [("ann" if i < change else "bob", there)], round(12 * fps), settings=StreamSettings(), fps=fps
    )
    assert kinds(told, "appeared", "identified", "lost") == [
        ("appeared", None),
        ("identified", "ann"),
        ("lost", "ann"),
        ("appeared", None),
        ("identified", "bob"),
    ]
    (lost,) = [index for index, kind, _ in told if kind == "lost"]
    assert lost <= change + 1


@pytest.mark.parametrize("fps", [8.0, 25.0])
def test_another_person_in_the_same_place_after_a_cut_is_another_face(play, stage, fps):
    there, change = stage.face_at(100, 60), round(3 * fps)
    _, _, told = play(
        lambda i: [("ann" if i < change else "bob", there)],
        round(6 * fps),
        settings=StreamSettings(),
        fps=fps,
        scenery=lambda i: 7 if i < change else 8,
    )
    assert kinds(told, "identified", "lost") == [("identified", "ann"), ("lost", "ann"), ("identified", "bob")]
    (lost,) = [index for index, kind, _ in told if kind == "lost"]
    assert lost <= change + 0.6 * fps


def test_one_look_that_agrees_ends_no_doubt(play, stage, cast):
    """Right after a cut a face may still dissolve into another and be like both; nothing is seen of it afterwards."""
    people = {"ann": cast["ann"], "both": (cast["ann"] + cast["bob"]) / np.sqrt(np.float32(2)), "bob": cast["bob"]}
    cast.clear()
    cast.update(people)  # in this order their tones are close
    there, cut, end = stage.face_at(100, 60), 75, 82
    _, acting, told = play(
        lambda i: [("ann" if i < cut else "both" if i < end else "bob", there)],
        150,
        settings=StreamSettings(),
        scenery=lambda i: 7 if i < cut else 8,
    )
    assert "both" in acting.embedded
    assert kinds(told, "identified", "lost") == [("identified", "ann"), ("lost", "ann"), ("identified", "bob")]
    (lost,) = [index for index, kind, _ in told if kind == "lost"]
    assert lost <= end + 0.6 * 25


def test_a_face_that_is_followed_without_a_break_is_not_doubted_where_detections_are_rare(play, stage):
    settings = StreamSettings(tracking=TrackingSettings(detect_fps=1.0))
    _, acting, told = play(lambda i: [("ann", stage.face_at(100 + i // 10, 60))], 200, settings=settings)
    assert kinds(told, "identified", "lost") == [("identified", "ann")]
    assert len(acting.embedded) <= 3


@pytest.mark.parametrize(
    ("fps", "asked", "rate"), [(25, 8, 8), (30, 8, 8), (15, 8, 8), (10, 8, 8), (5, 8, 5), (25, 25, 25)]
)
def test_detections_hold_their_rate_on_average(fps, asked, rate):
    schedule = Schedule()
    moments = [number / fps for number in range(20 * fps) if schedule.due(number / fps, 1 / asked)]
    assert abs(len(moments) - 20 * rate) <= 1
    assert np.diff(moments).max() <= 1 / asked + 1 / fps + 1e-6
    assert np.diff(moments).min() >= 1 / asked - 1 / fps - 1e-6


def test_the_schedule_makes_up_for_no_gap_and_takes_new_intervals_at_once():
    schedule = Schedule()
    assert schedule.due(0.0, 0.1)
    assert [schedule.due(5.0 + 0.01 * step, 0.1) for step in range(11)] == [True] + [False] * 9 + [True]
    assert schedule.due(1.0, 0.1), "a source that begins anew"
    assert not schedule.due(1.05, 0.1)
    assert schedule.due(1.06, 0.02), "the budget allows more"


def test_of_two_faces_in_one_frame_the_more_similar_has_the_name(play, stage):
    """The twin would be called Ann, and is until she comes; from then on Ann alone is."""
    one, two = stage.face_at(20, 60), stage.face_at(200, 60)
    processor, _, told = play(lambda i: [("twin", one), *([("ann", two)] if 25 <= i < 75 else [])], 150)
    assert kinds(told, "identified", "unknown") == [
        ("identified", "ann"),
        ("unknown", None),
        ("identified", "ann"),
        ("identified", "ann"),
    ]
    numbers = [track.number for track in processor.tracks]
    assert numbers == [1], "she left, and the twin is the most similar again"
    changes = [index for index, kind, _ in told if kind in {"identified", "unknown"}]
    assert changes[1] == changes[2], "no frame has the name twice"


def test_a_face_that_is_hardly_more_similar_takes_no_name(play, stage, cast):
    """Names would go back and forth."""
    cast["twin"] = np.float32([0.98, np.sqrt(1 - 0.98**2), *[0] * 14])
    people = [("twin", stage.face_at(20, 60)), ("ann", stage.face_at(200, 60))]
    _, _, told = play(lambda i: people[: 1 if i < 25 else 2], 100, enrolled=("ann",))
    assert kinds(told, "identified", "unknown") == [("identified", "ann"), ("unknown", None)]


def test_landmarks_that_no_face_has_end_nothing(play, stage):
    """Exchanged eyes, as a detector may give on a strong profile: that face is followed and never embedded."""
    there, odd = stage.face_at(100, 60), stage.face_at(300, 60)
    odd = replace(odd, landmarks=odd.landmarks[[1, 0, 2, 4, 3]])
    processor, acting, told = play(lambda _: [("ann", there), ("bob", odd)], 50)
    assert kinds(told, "identified", "unknown") == [("identified", "ann")]
    assert set(acting.embedded) == {"ann"}
    assert {track.name for track in processor.tracks} == {"ann", None}


@pytest.mark.parametrize(
    ("part", "value"),
    [*itertools.product(["box", "landmarks"], [np.nan, np.inf, 3e38, -3e38]), ("score", np.nan)],
)
def test_a_detection_without_a_place_is_no_face(stage, part, value):
    there, odd = stage.face_at(100, 60), stage.face_at(20, 60)
    odd = replace(odd, **{part: getattr(odd, part) + np.float32(value)})
    tracker = Tracker(TrackingSettings())
    assert [track.face for track in tracker.update(stage.frame_of(0), [odd, there])] == [there]


def test_enrolling_a_face_in_sight(play, stage):
    processor, acting, _told = play(lambda i: [("cid", stage.face_at(100, 60))], 60)
    (track,) = processor.tracks
    frame = stage.frame_of(60, acting.image(60))
    enrollment, events = processor.enroll(track.number, "Cid", frame)
    assert enrollment.embeddings == 1
    assert [(event.kind, event.name, event.before.name) for event in events] == [("identified", "Cid", None)]
    with pytest.raises(TrackError, match="99"):
        processor.enroll(99, "Dee", frame)


def test_everybody_is_lost_when_the_source_goes(play, stage):
    processor, _acting, _ = play(lambda i: [("ann", stage.face_at(100, 60))], 30)
    assert [event.kind for event in processor.clear(stage.frame_of(30))] == ["lost"]
    assert processor.clear(stage.frame_of(30)) == []


def test_a_gallery_without_a_threshold_is_refused_at_the_start(script, tmp_path):
    acting = script(lambda i: [])
    gallery = open_gallery(tmp_path / "people.db", acting.fingerprint, create=True)
    with pytest.raises(ThresholdError, match="threshold"):
        FrameProcessor(detector=acting, embedder=acting, gallery=gallery, settings=EVERY_FRAME, events=EventMaker("x"))


# ---- a gallery that fails while the stream runs ---------------------------------------------------------------------


@pytest.fixture
def changing(play, stage):
    """Ann for three seconds, then Bob beside her: the processor after Ann has her name."""

    def people(i):
        return [("ann", stage.face_at(20, 60)), *([("bob", stage.face_at(200, 60))] if i >= 75 else [])]

    processor, acting, told = play(people, 50)
    assert kinds(told, "identified") == [("identified", "ann")]
    return processor, acting


def names_in_sight(processor):
    return {track.name for track in processor.tracks}


def test_a_gallery_rebuilt_for_another_model_is_a_problem_until_it_is_rebuilt_back(changing, stage, tmp_path):
    processor, acting = changing
    other = copy(acting)
    other.spec = replace(acting.spec, source_sha256="f" * 64)
    with open_gallery(tmp_path / "people.db", acting.fingerprint) as writer:
        writer.rebuild(other)
    assert go_on(processor, acting, stage, 50, 125) == [("appeared", None)]
    assert "another model" in processor.gallery_problem
    assert names_in_sight(processor) == {"ann", None}, "what was known stays"
    with open_gallery(tmp_path / "people.db", other.fingerprint) as writer:
        writer.rebuild(acting)
    assert go_on(processor, acting, stage, 125, 175) == [("identified", "bob")]
    assert processor.gallery_problem == ""


def test_a_disk_that_fails_under_the_gallery_is_a_problem_and_no_end(changing, stage):
    processor, acting = changing
    processor.gallery.failure = OutputError("The disk failed.")
    assert go_on(processor, acting, stage, 50, 125) == [("appeared", None)]
    assert processor.gallery_problem == "The disk failed."
    processor.gallery.failure = None
    assert go_on(processor, acting, stage, 125, 175) == [("identified", "bob")]
    assert processor.gallery_problem == ""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere an open file cannot be deleted")
def test_a_gallery_that_was_deleted_and_made_again_is_taken_up(changing, gallery_of, stage, tmp_path):
    processor, acting = changing
    for file in tmp_path.glob("people.db*"):
        file.unlink()
    assert go_on(processor, acting, stage, 50, 125) == [("appeared", None)]
    assert "There is no gallery" in processor.gallery_problem
    gallery_of(acting, ["bob"]).close()
    assert sorted(go_on(processor, acting, stage, 125, 175)) == [("identified", "bob"), ("unknown", None)]
    assert processor.gallery_problem == ""


def test_a_gallery_without_a_threshold_while_the_stream_runs_is_a_problem(changing, stage):
    processor, acting = changing
    processor.gallery.has_threshold = False
    assert processor.reconsider(stage.frame_of(50, acting.image(50))) == []
    assert "no threshold" in processor.gallery_problem


# ---- evidence ------------------------------------------------------------------------------------------------------


def track_with(stage, *, weight, standing="undecided", name=None):
    track = TrackState(number=1, face=stage.face_at(0, 0), began_s=0, seen_s=0)
    track.weight, track.standing, track.name = weight, standing, name
    return track


def candidates(*pairs):
    return [Candidate(name=name, similarity=similarity) for name, similarity in pairs]


@pytest.mark.parametrize(
    ("weight", "standing", "name", "found", "expected"),
    [
        (0.2, "undecided", None, [("ann", 0.9)], ("undecided", None)),
        (0.6, "undecided", None, [("ann", 0.9)], ("identified", "ann")),
        (0.6, "undecided", None, [("ann", 0.4)], ("undecided", None)),
        (1.5, "undecided", None, [("ann", 0.4)], ("unknown", None)),
        (1.5, "undecided", None, [], ("unknown", None)),
        (2.0, "identified", "ann", [("ann", 0.47)], ("identified", "ann")),
        (2.0, "identified", "ann", [("ann", 0.44)], ("unknown", None)),
        (2.0, "identified", "ann", [("bob", 0.60), ("ann", 0.56)], ("identified", "ann")),
        (2.0, "identified", "ann", [("bob", 0.70), ("ann", 0.60)], ("identified", "bob")),
        (2.0, "unknown", None, [("ann", 0.51)], ("identified", "ann")),
    ],
)
def test_a_name_needs_evidence_and_is_kept_within_the_hysteresis(stage, weight, standing, name, found, expected):
    track = track_with(stage, weight=weight, standing=standing, name=name)
    assert decide_identity(track, candidates(*found), 0.5, RecognitionSettings()) == expected


@pytest.mark.parametrize(
    ("weight", "standing", "name", "found", "expected"),
    [
        (0.2, "undecided", None, [("postman", 0.9)], ("undecided", None)),
        (0.6, "undecided", None, [("postman", 0.9), ("ann", 0.89)], ("ignored", None)),
        (0.6, "undecided", None, [("ann", 0.9), ("postman", 0.85)], ("undecided", None)),
        (1.5, "undecided", None, [("ann", 0.9), ("postman", 0.85)], ("unknown", None)),
        (0.6, "undecided", None, [("ann", 0.9), ("postman", 0.7)], ("identified", "ann")),
        (1.5, "undecided", None, [("postman", 0.4)], ("unknown", None)),
        (2.9, "undecided", None, [("postman", 0.45)], ("undecided", None)),
        (3.0, "undecided", None, [("postman", 0.45)], ("unknown", None)),
        (1.5, "undecided", None, [("ann", 0.45), ("postman", 0.44)], ("unknown", None)),
        (2.0, "ignored", None, [("postman", 0.47)], ("ignored", None)),
        (2.0, "ignored", None, [("postman", 0.44)], ("unknown", None)),
        (2.0, "ignored", None, [("ann", 0.60), ("postman", 0.56)], ("ignored", None)),
        (2.0, "ignored", None, [("ann", 0.80), ("postman", 0.60)], ("identified", "ann")),
        (2.0, "identified", "ann", [("postman", 0.60), ("ann", 0.56)], ("identified", "ann")),
        (2.0, "identified", "ann", [("postman", 0.70), ("ann", 0.60)], ("ignored", None)),
    ],
)
def test_the_nearest_ignored_person_is_decided_without_a_margin(stage, weight, standing, name, found, expected):
    track = track_with(stage, weight=weight, standing=standing, name=name)
    people = [replace(one, ignored=True if one.name == "postman" else None) for one in candidates(*found)]
    assert decide_identity(track, people, 0.5, RecognitionSettings(margin=0.1)) == expected


@pytest.mark.parametrize("enough_doubt", [0.0, 1.5, 8.0, 10.5, 19.0])
def test_whoever_resembles_an_ignored_person_is_unknown_in_the_end(stage, enough_doubt):
    """No track has more than the most evidence."""
    track = track_with(stage, weight=max(10.0, enough_doubt))
    people = [replace(one, ignored=True) for one in candidates(("postman", 0.45))]
    assert decide_identity(track, people, 0.5, RecognitionSettings(enough_doubt=enough_doubt)) == ("unknown", None)


def test_a_margin_keeps_two_who_look_alike_apart(stage):
    settings = RecognitionSettings(margin=0.1)
    assert (
        decide_identity(track_with(stage, weight=1), candidates(("ann", 0.8), ("bob", 0.75)), 0.5, settings)[1] is None
    )
    assert (
        decide_identity(track_with(stage, weight=1), candidates(("ann", 0.8), ("bob", 0.6)), 0.5, settings)[1] == "ann"
    )


def test_a_template_is_the_mean_weighted_by_quality(stage):
    track = track_with(stage, weight=0.0)
    crop = np.zeros((112, 96, 3), np.uint8)
    track.add(np.float32([1, 0]), crop, 0.9, 0.0)
    track.add(np.float32([0, 1]), crop, 0.3, 1.0)
    assert track.template == pytest.approx(np.float32([0.9, 0.3]) / np.hypot(0.9, 0.3))
    for moment in range(200):  # old looks fade
        track.add(np.float32([0, 1]), crop, 1.0, moment)
    assert track.template[0] < 0.01
    assert track.weight <= 20.0


def test_when_a_face_is_embedded(stage):
    settings = RecognitionSettings()
    track = track_with(stage, weight=0.0)
    assert worth_embedding(track, 0.5, 0.0, settings)
    assert not worth_embedding(track, 0.05, 0.0, settings), "a bad look says nothing"
    track.add(np.float32([1, 0]), None, 0.3, 0.0)
    assert not worth_embedding(track, 0.3, 0.1, settings)
    assert worth_embedding(track, 0.3, 0.4, settings), "undecided: try again"
    track.standing = "ignored"
    assert not worth_embedding(track, 0.3, 5.0, settings)
    track.standing = "identified"
    assert not worth_embedding(track, 0.3, 5.0, settings)
    assert worth_embedding(track, 0.5, 5.0, settings), "seen clearly better"
    assert worth_embedding(track, 0.3, 10.0, settings), "the refresh"
    assert not worth_embedding(track, 0.3, 10.0, settings, slower=4.0), "not where the budget is short"
    track.doubtful = True
    assert worth_embedding(track, 0.3, 0.6, settings)


# ---- quality, budget ------------------------------------------------------------------------------------------------


def test_a_wider_crop_of_the_same_face_is_as_sharp():
    """What a crop of 112 x 112 shows on either side of one of 112 x 96 does not count."""
    random = np.random.default_rng(0)
    crop = random.integers(0, 256, (112, 96, 3), dtype=np.uint8)
    for value in (0, 255):
        wider = np.pad(crop, ((0, 0), (8, 8), (0, 0)), constant_values=value)
        assert sharpness(wider) == sharpness(crop)


def test_quality_falls_with_blur_distance_and_turning(astronaut, stage):
    import cv2

    from edge_sphereface.alignment import align
    from edge_sphereface.detection import open_detector

    (face,) = open_detector("mtcnn").detect(astronaut)

    def quality(image, landmarks):
        return assess(landmarks, align(image, landmarks[None])[0]).value

    good = quality(astronaut, face.landmarks)
    blurred = quality(cv2.GaussianBlur(astronaut, (0, 0), 5), face.landmarks)
    small = cv2.resize(astronaut, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    far = quality(small, face.landmarks * np.float32(0.2))
    turned = face.landmarks.copy()
    turned[2, 0] = turned[1, 0]  # the nose below one eye
    assert good > 0.6
    assert blurred < good / 2
    assert far < good / 1.3
    assert geometry(turned)[1] < 0.2
    assert geometry(np.zeros((5, 2), np.float32))[0] == 0.0


@pytest.mark.parametrize("budget_ms", [2.0, 4.0, 8.0, 30.0])
def test_the_budget_is_kept_by_detecting_less_first(budget_ms):
    """A machine whose detector takes 20 ms at full size, embeddings 2 ms a frame, the rest 1 ms."""
    budget = ComputeBudget(budget_ms, detect_fps=25.0, detect_side=640)
    detected_s, spent = -1.0, []
    for index in range(25 * 60):
        now = index / 25
        detect = None
        if now - detected_s >= budget.detect_interval_s - 0.005:
            detect, detected_s = 20.0 * (budget.detect_side / 640) ** 2, now
        embed = 2.0 / budget.level.slower
        budget.account(now, detect_ms=detect, embed_ms=embed, rest_ms=1.0)
        spent.append((detect or 0) + embed + 1.0)
    assert np.mean(spent[-500:]) <= budget_ms * 1.05
    if budget_ms >= 30:
        assert budget.level == LEVELS[0], "nothing is given up without need"
    if budget_ms >= 4:
        assert budget.level.slower == 1.0, "embedding is given up last"


def test_settings_that_cannot_work_are_refused():
    for wrong in ({"detect_fps": 0}, {"detect_side": 1}, {"budget_ms": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(TrackingSettings(), **wrong)
    with pytest.raises(ValueError, match="threshold"):
        RecognitionSettings(threshold=3.0)
