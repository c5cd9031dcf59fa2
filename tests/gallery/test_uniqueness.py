"""One person has one face in an image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sphereface.gallery.uniqueness import one_face_each, stronger_rivals
from edge_sphereface.image import save_image

named = st.lists(st.tuples(st.sampled_from([None, "Ann", "Ben"]), st.floats(-1, 1)), max_size=8)


@given(named)
def test_each_name_stays_with_its_most_similar_face(faces):
    names, similarities = [name for name, _ in faces], [similarity for _, similarity in faces]
    losers = stronger_rivals(names, similarities)
    kept = [name for index, name in enumerate(names) if index not in losers and name is not None]
    assert sorted(kept) == sorted({name for name in names if name is not None})
    for loser, keeper in losers.items():
        assert names[loser] == names[keeper] is not None
        assert keeper not in losers
        assert (similarities[keeper], -keeper) > (similarities[loser], -loser)


@pytest.fixture
def looks(faces):
    """Three faces of one image: Ann, somebody who resembles her less, and Ben."""
    return [faces[0] + 0.1 * faces[5], faces[0] + 0.8 * faces[5], faces[1]]


def test_two_faces_of_one_image_never_share_a_name(gallery, faces, looks):
    gallery.enroll("Ann", faces[0])
    gallery.enroll("Ben", faces[1])
    assert [gallery.identify(look, threshold=0.5).name for look in looks] == ["Ann", "Ann", "Ben"]
    first, second, third = gallery.identify_faces(looks, threshold=0.5)
    assert (first.name, second.name, third.name) == ("Ann", None, "Ben")
    assert (second.outcome, first.reason, third.reason) == ("unknown", None, None)
    assert "another face of this image is more similar to 'Ann'" in second.reason
    assert second.candidates[0].name == "Ann"
    assert one_face_each([second, first]) == [second, first]


def test_the_order_of_the_faces_changes_nothing(gallery, faces, looks):
    gallery.enroll("Ann", faces[0])
    gallery.enroll("Ben", faces[1])
    backwards = gallery.identify_faces(np.stack(looks[::-1]), threshold=0.5)
    assert [answer.name for answer in backwards] == ["Ben", None, "Ann"]


def test_no_faces_give_no_answers(gallery):
    assert gallery.identify_faces([]) == []


def test_the_command_names_one_of_two_alike(cli, people, small_model, astronaut, tmp_path):
    """The same face twice in one photograph: one is Eileen, the other is told why it is not."""
    twice = tmp_path / "twice.png"
    save_image(twice, np.concatenate([astronaut, astronaut], axis=1))
    code, out, _ = cli("identify", "--gallery", people, "--model", small_model, "--threshold", "0.5", twice)
    assert code == 0
    assert "2 faces" in out
    assert out.count(" Eileen (nearest") == 1
    assert "more similar to 'Eileen'" in out
