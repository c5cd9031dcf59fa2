"""A threshold for `watch` rests on the highest similarity that a stranger has while it is followed."""

import pytest

from edge_sphereface.errors import GalleryError, OutputError
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings
from edge_sphereface.stream.stranger_tracks import track_scores


@pytest.fixture
def follow(script, gallery_of):
    """Scores of people who are in a sequence of so many frames at 8 frames a second; Ann and Bob are known."""

    def run(people, frames, *, failure=None, **settings):
        acting = script(people)
        gallery = gallery_of(acting, ["ann", "bob"])
        gallery.failure = failure
        recognition = RecognitionSettings(**{"threshold": 0.6, **settings})
        images = ((index / 8, acting.image(index)) for index in range(frames))
        found = track_scores(
            images, detector=acting, embedder=acting, gallery=gallery, settings=StreamSettings(recognition=recognition)
        )
        return found, acting

    return run


def test_a_stranger_counts_with_the_highest_similarity_at_any_time(follow, stage):
    """The twin is 0.8 like Ann; what comes after cannot make that undone."""
    one, other = stage.face_at(20, 60), stage.face_at(200, 60)
    found, acting = follow(lambda _: [("twin", one), ("cid", other)], 40)
    assert sorted(found) == pytest.approx([0.0, 0.8], abs=1e-5)
    assert len(acting.embedded) > 12, "looked at as often as a stranger is, even above the threshold"


def test_what_could_not_be_named_has_no_score(follow, stage):
    there = stage.face_at(20, 60)
    assert follow(lambda i: [("twin", there)] if i == 3 else [], 20)[0] == []
    assert follow(lambda _: [("twin", there)], 3, enough_evidence=10.0)[0] == []
    assert follow(lambda _: [("twin", there)], 40, margin=0.9)[0] == []


def test_a_gallery_that_fails_ends_it(follow, stage):
    with pytest.raises(GalleryError, match="The disk failed"):
        follow(lambda _: [("twin", stage.face_at(20, 60))], 20, failure=OutputError("The disk failed."))
