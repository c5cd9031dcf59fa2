"""Identifiers stay the same whatever is renamed, moved or lost."""

import stat

import pytest

from edge_sphereface.errors import SinkError
from edge_sphereface.stream.outputs.events.home_assistant.state import MOST_CAMERAS, StateFile, Subject


@pytest.fixture
def opened(tmp_path):
    """The state in ``state.json``, as a start of the process reads it."""
    return lambda: StateFile(tmp_path / "kept" / "state.json", topic="house/door")


def person(name, mark="2026-11-27T10:00:00Z"):
    return Subject(name=name, mark=mark)


def test_identifiers_are_kept_over_restarts_and_follow_from_names_where_the_file_is_lost(opened, tmp_path):
    file = opened()
    first = file.set_people([person("Ann"), person("Jürgen")])
    file.save()
    assert opened().set_people([person("Jürgen"), person("Ann")]) == first
    (tmp_path / "kept" / "state.json").unlink()
    assert opened().set_people([person("Ann"), person("Jürgen")]) == first
    assert opened().state.node == file.state.node


def test_a_renamed_person_keeps_the_identifier_and_the_sighting(opened):
    file = opened()
    camera = file.set_cameras([Subject(name="door", mark="rtsp://door")])["door"]
    ann = file.set_people([person("Ann", "monday"), person("Bob", "tuesday")])["Ann"]
    file.remember(people={ann: (1e9, camera)}, cameras={camera: 7})
    file.save()
    later = opened()
    assert later.set_people([person("Anna", "monday"), person("Bob", "tuesday")])["Anna"] == ann
    assert next(one for one in later.state.people if one.id == ann).seen == 1e9
    assert later.set_cameras([Subject(name="front door", mark="rtsp://door")]) == {"front door": camera}
    assert later.state.cameras[0].unknown == 7
    assert later.state.gone_people == later.state.gone_cameras == ()


def test_a_new_person_with_a_freed_name_is_somebody_else(opened):
    file = opened()
    ann = file.set_people([person("Ann", "monday")])["Ann"]
    found = file.set_people([person("Anna", "monday"), person("Ann", "friday")])
    assert found["Ann"] == ann  # the name is what tells first
    assert len(set(found.values())) == 2
    file = opened()
    file.set_people([person("Ann", "monday")])
    file.set_people([person("Anna", "monday")])
    found = file.set_people([person("Anna", "monday"), person("Ann", "friday")])
    assert found["Anna"] == ann
    assert found["Ann"] not in (ann, "")


def test_people_enrolled_at_the_same_moment_are_not_mistaken_for_each_other(opened):
    """Where it cannot be told who was renamed, the old identifiers are gone and new ones begin."""
    file = opened()
    before = file.set_people([person("Ann"), person("Bob")])
    after = file.set_people([person("Cid"), person("Dan")])
    assert not set(before.values()) & set(after.values())
    assert set(file.state.gone_people) == set(before.values())


def test_who_is_gone_is_kept_until_the_broker_knows_and_who_comes_again_is_not_gone(opened):
    file = opened()
    ann = file.set_people([person("Ann"), person("Bob")])["Ann"]
    file.set_people([person("Bob")])
    file.save()
    again = opened()
    assert again.state.gone_people == (ann,)
    assert again.set_people([person("Bob"), person("Ann")])["Ann"] == ann
    assert again.state.gone_people == ()
    again.set_people([person("Bob")])
    again.forget_gone()
    assert again.state.gone_people == ()


def test_the_file_is_private_and_holds_no_name(opened, tmp_path):
    file = opened()
    file.set_people([person("Ann")])
    file.set_cameras([Subject(name="front door", mark="rtsp://10.0.0.7/secret")])
    file.save()
    path = tmp_path / "kept" / "state.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(word in path.read_text() for word in ("Ann", "door", "secret", "10.0.0.7", "2026"))


@pytest.mark.parametrize("content", [b"", b"{", b'{"kind": "other"}', b"[" * 3000, b"\xff"])
def test_a_damaged_file_is_set_aside_with_a_warning(opened, tmp_path, content):
    path = tmp_path / "kept" / "state.json"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"renamed to state\.json\.damaged"):
        file = opened()
    assert (tmp_path / "kept" / "state.json.damaged").read_bytes() == content
    file.set_people([person("Ann")])
    file.save()
    assert opened().state == file.state


def test_what_is_no_file_is_refused(opened, tmp_path):
    (tmp_path / "kept" / "state.json").mkdir(parents=True)
    with pytest.raises(SinkError, match="a folder"):
        opened()
    (tmp_path / "kept" / "state.json").rmdir()
    with (tmp_path / "kept" / "state.json").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(SinkError, match="bytes"):
        opened()


def test_cameras_are_bounded(opened):
    file = opened()
    assert len(file.set_cameras([Subject(name=f"{i}", mark="x") for i in range(MOST_CAMERAS + 9)])) == MOST_CAMERAS
