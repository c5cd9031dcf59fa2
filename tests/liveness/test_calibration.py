"""A threshold rests on clips that can tell, is stored beside its models, and counts for these alone."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.cli.liveness_calibration_command import clips_of
from edge_sphereface.errors import ThresholdError
from edge_sphereface.evaluation.liveness import calibrate_liveness, clip_score, wilson
from edge_sphereface.liveness import LivenessCalibration, LivenessChecker
from edge_sphereface.liveness.calibration import ErrorRate, digests_of, find_calibration, store_calibration
from tests.liveness.networks import brightness_model


def test_a_clip_scores_as_a_stream_decides():
    """The mean of the newest checks, at the moment when it is highest."""
    assert clip_score([0.2, 0.4, 0.9, 0.9, 0.1], 2) == pytest.approx(0.9)
    assert clip_score([0.8, 0.0, 0.0], 5) == pytest.approx(0.8), "the first check decides alone"
    assert clip_score([0.3], 5) == pytest.approx(0.3)


def test_intervals_are_wilsons():
    found = wilson(3, 30)
    assert (found.value, found.low, found.high) == (
        0.1,
        pytest.approx(0.0346, abs=1e-4),
        pytest.approx(0.2562, abs=1e-4),
    )
    assert wilson(0, 30).low == 0
    assert wilson(30, 30).high == 1


def test_the_threshold_with_the_fewest_errors_in_the_widest_gap():
    attacks = [*np.linspace(0.0, 0.3, 18), 0.6, 0.9]
    live = [*np.linspace(0.7, 0.99, 18), 0.2, 0.5]
    found = calibrate_liveness(live, attacks, apcer=0.15, bpcer=0.2)
    assert found.threshold == pytest.approx(0.4)
    assert sum(score >= found.threshold for score in attacks) == 2
    assert (found.apcer.value, found.bpcer.value) == (0.1, 0.05)
    assert found.apcer.low < 0.1 < found.apcer.high
    assert found.equal_error.value == pytest.approx(0.1)
    apart = calibrate_liveness([0.8] * 30, [0.2] * 30, apcer=0.1, bpcer=0.1)
    assert (apart.threshold, apart.apcer.value, apart.equal_error.value) == (0.5, 0.0, 0.0)


@pytest.mark.parametrize(
    ("live", "attacks", "says"),
    [
        ([0.9] * 30, [0.1] * 29, "at least 30 attack clips.*got 29.*rate of 0.1 or more"),
        ([0.9] * 14, [0.1] * 30, "at least 15 live clips.*got 14"),
        (np.linspace(0, 1, 40), np.linspace(0, 1, 40), "cannot tell these clips apart.*equal error rate is 50"),
        (np.linspace(0.4, 1, 40), np.linspace(0, 0.6, 40), "Expected at most 20 %"),
        ([1.0] * 40, [1.0] * 40, "sure that they are live"),
    ],
)
def test_clips_that_cannot_tell_are_refused(live, attacks, says):
    with pytest.raises(ThresholdError, match=says):
        calibrate_liveness(list(live), list(attacks), apcer=0.1, bpcer=0.2)


@pytest.fixture
def clips(astronaut, tmp_path):
    """Photographs of a bright, live face and of a dark print of it; the darkness varies."""
    for side, light in (("live", 1.0), ("attack", 0.4)):
        for number in range(6):
            path = tmp_path / side / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), cv2.convertScaleAbs(astronaut, alpha=light - 0.02 * number))
    return tmp_path


def words(clips, model, *more):
    def pictures(side):
        return sorted((clips / side).iterdir())

    return ("calibrate-liveness", model, "--live", *pictures("live"), "--attack", *pictures("attack"), *more)


ENOUGH = ("--apcer", "0.5", "--bpcer", "0.5")


def test_the_command_stores_what_others_use(printed, cli, clips, bright, photo):
    found = printed(build_parser, "calibrate-liveness", *words(clips, bright, *ENOUGH))
    assert (found["live_clips"], found["attack_clips"], found["checks"]) == (6, 6, 12)
    assert (found["apcer"]["value"], found["bpcer"]["value"]) == (0.0, 0.0)
    stored = bright.with_suffix(".liveness.json")
    assert found["stored"] == str(stored)
    scores = {side: [clip["score"] for clip in found["clips"] if clip["side"] == side] for side in ("live", "attack")}
    assert max(scores["attack"]) < min(scores["live"])
    used = LivenessChecker([bright], threads=1)
    assert (used.threshold, used.threshold_source) == (found["threshold"], "calibrated")
    assert LivenessChecker([bright], threads=1, threshold=0.5).threshold_source == "given"
    report = printed(build_parser, "liveness", "liveness", "--liveness", bright, photo)
    assert (report["threshold"], report["threshold_source"]) == (found["threshold"], "calibrated")


def test_clips_are_videos_and_folders_wherever_they_are(astronaut, tmp_path):
    """A folder with photographs is one clip; so is each folder in it, and each video."""
    for name in ("a/1.png", "a/2.png", "a/inner/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), astronaut)
    (tmp_path / "a" / "film.mp4").touch()
    (tmp_path / "a" / "notes.txt").touch()
    alone = tmp_path / "a" / "1.png"
    found = [(clip.path.name, len(clip.files)) for clip in clips_of([tmp_path / "a", alone])]
    assert found == [("a", 2), ("film.mp4", 1), ("inner", 1), ("1.png", 1)]


def test_a_video_is_checked_five_times_a_second(printed, clips, bright, astronaut):
    film = clips / "live" / "5.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10, astronaut.shape[1::-1])
    for number in range(6):
        writer.write(cv2.convertScaleAbs(astronaut, alpha=1 - 0.01 * number))
    writer.release()
    (clips / "live" / "5.png").unlink()
    found = printed(build_parser, "calibrate-liveness", *words(clips, bright, *ENOUGH))
    (clip,) = [clip for clip in found["clips"] if clip["path"] == str(film)]
    assert clip["checks"] == 3


def test_a_folder_is_one_clip_and_is_too_few(cli, clips, bright):
    code, _, err = cli("calibrate-liveness", bright, "--live", clips / "live", "--attack", clips / "attack", *ENOUGH)
    assert code == 1
    assert "at least 6 attack clips with a face; got 1" in err
    assert not bright.with_suffix(".liveness.json").exists()


def test_one_clip_on_both_sides_and_clips_without_faces(cli, clips, bright):
    (clips / "attack" / "9.png").write_bytes((clips / "live" / "0.png").read_bytes())
    code, _, err = cli(*words(clips, bright, *ENOUGH))
    assert (code, "same content" in err) == (1, True)
    cv2.imwrite(str(clips / "attack" / "9.png"), np.full((64, 64, 3), 9, np.uint8))
    (clips / "attack" / "5.png").unlink()
    code, _, err = cli(*words(clips, bright, *ENOUGH))
    assert (code, "at least 6 attack clips with a face; got 5" in err) == (1, True)


def test_what_is_no_clip(cli, clips, bright, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, says in (
        (tmp_path / "empty", "no videos and no photographs"),
        (tmp_path / "no.mp4", "Cannot read the clip"),
    ):
        code, _, err = cli("calibrate-liveness", bright, "--live", clips / "live", "--attack", path)
        assert code == 1
        assert says in err
    assert cli("calibrate-liveness", bright, "--live", "x", "--attack", "x", "--apcer", "0")[0] == 2


RATE = ErrorRate(value=0.05, low=0.01, high=0.2)


@pytest.fixture
def calibration(bright):
    return LivenessCalibration(
        models=digests_of([bright]), threshold=0.7, apcer=RATE, bpcer=RATE, equal_error=RATE, attack_clips=40,
        live_clips=40, checks=900, detector="yunet", made_at="2026-11-27T12:00:00+00:00",
    )  # fmt: skip


def test_a_calibration_is_of_exactly_its_models(calibration, bright, tmp_path, small_model):
    assert find_calibration([bright]) is None
    assert LivenessChecker([bright], threads=1).threshold_source == "default"
    store_calibration(calibration, [bright])
    assert find_calibration([bright]) == calibration
    other = brightness_model(tmp_path / "other.onnx")
    with pytest.raises(ThresholdError, match="of other models than"):
        LivenessChecker([other, bright], threads=1)
    both = replace(calibration, models=digests_of([other, bright]))
    store_calibration(both, [other, bright])
    assert find_calibration([bright, other]) == both
    assert find_calibration([bright]) == calibration
    checker = LivenessChecker([bright], threads=1)
    assert (checker.at(0.2).threshold, checker.at(None).threshold, checker.threshold) == (0.2, 0.7, 0.7)
    with pytest.raises(ValueError, match="0 to 1"):
        checker.at(2)


@pytest.mark.parametrize(
    "change",
    [{"threshold": 1.5}, {"kind": "other"}, {"apcer": {"value": 0.5, "low": 0.6, "high": 0.7}}, {"models": "x"}],
)
def test_a_damaged_calibration_is_no_silent_default(calibration, bright, change):
    path = store_calibration(calibration, [bright])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ThresholdError, match="liveness calibration"):
        LivenessChecker([bright], threads=1)
