"""Pictures over HTTP: a face that is not live gets no name, and no other face loses one by it."""

import pytest

from edge_sphereface.liveness import Liveness


class Scripted:
    """Says of the faces of each picture what a test says."""

    def __init__(self, *states):
        self.states = list(states)
        self.shapes = []

    def check(self, image, faces):
        self.shapes.append(image.shape)
        states = [self.states.pop(0) for _ in faces]
        return [Liveness(state=state, score=None if state == "not_checked" else 0.5) for state in states]


@pytest.fixture
def enrolled(interface, web):
    """A client of a program that checks, where Ann is enrolled; what it says of the enrolled picture."""

    def start(*states, scopes=("admin",)):
        checker = Scripted("spoof", *states)
        client = interface(scopes, liveness=checker)
        answer = client.ask("people?name=Ann", web.picture(1))
        return client, answer, checker

    return start


def test_enrollment_says_what_it_saw_and_refuses_nothing(enrolled):
    _, answer, checker = enrolled()
    assert (answer.status, answer.body["name"], answer.body["liveness"]) == (200, "Ann", ["spoof"])
    assert checker.shapes == [(240, 320, 3)]


@pytest.mark.parametrize("scopes", [("admin",), ("identify", "enroll")])
@pytest.mark.parametrize("state", ["live", "spoof", "not_checked"])
def test_only_live_faces_are_named(enrolled, web, state, scopes):
    client, _, _ = enrolled(state, scopes=scopes)
    (face,) = client.ask("identify?threshold=0.9", web.picture(1)).body["faces"]
    assert face["liveness"] == state
    named = state == "live"
    assert face["name"] == ("Ann" if named else None)
    assert [one["name"] for one in face["candidates"]] == (["Ann"] if named else [])
    assert face["reason"] == (None if named else "the face does not count as live")


def test_a_picture_of_somebody_takes_no_name_from_the_person_beside_it(enrolled, web):
    client, _, _ = enrolled("spoof", "live")
    first, second = client.ask("identify?threshold=-1", web.picture(1, height=241)).body["faces"]
    assert (first["name"], second["name"]) == (None, "Ann")


@pytest.mark.parametrize(
    ("states", "same"), [(("live", "live"), True), (("live", "spoof"), False), (("not_checked", "live"), False)]
)
def test_two_pictures_are_of_one_person_only_if_both_are_live(enrolled, web, states, same):
    client, _, _ = enrolled(*states)
    pair = web.form(first=web.picture(1), second=web.picture(1))
    answer = client.ask("verify?threshold=0.9", pair, web.FORM).body
    assert (answer["same"], answer["liveness"]) == (same, list(states))
    assert answer["similarity"] == pytest.approx(1)


def test_without_models_there_is_no_such_field(interface, web):
    client = interface()
    assert "liveness" not in client.ask("people?name=Ann", web.picture(1)).body
    assert "liveness" not in client.ask("identify?threshold=0.9", web.picture(1)).body["faces"][0]
    pair = web.form(first=web.picture(1), second=web.picture(1))
    assert "liveness" not in client.ask("verify", pair, web.FORM).body
