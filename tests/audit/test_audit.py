"""The audit finds every change of its lines, holds no names, and takes several writers."""

import os
import threading
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from edge_sphereface.audit import AuditLog, Head, check_audit, read_entries
from edge_sphereface.errors import AuditError

NAME = "Ann Lee Özil"
NOON = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl", now=lambda: NOON)


@pytest.fixture
def path(tmp_path, log):
    """An audit of five lines."""
    for number in range(5):
        log.record("enroll", subject=f"{NAME} {number}", by="edge-sphereface enroll", detail={"embeddings": number})
    return tmp_path / "audit.jsonl"


def problems(path, **noted):
    return check_audit(path, **noted).problems


def test_lines_are_private_and_hold_no_name(path, log, tmp_path):
    entry = log.record("remove", subject=NAME, by="door", detail={"files": 3})
    assert (entry.sequence, entry.time, entry.detail) == (6, "2026-11-27T12:00:00.000Z", {"files": "3"})
    assert entry.subject == log.pseudonym(NAME)
    assert log.record("expire", subject="", by="watch").subject is None
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"Lee" not in file.read_bytes()
    assert [entry.action for entry in read_entries(path)][-2:] == ["remove", "expire"]
    report = check_audit(path)
    assert (report.entries, report.problems, report.sealed) == (7, (), True)


def test_another_key_gives_other_pseudonyms(path, log, tmp_path):
    assert AuditLog(tmp_path / "other.jsonl").pseudonym(NAME) != log.pseudonym(NAME)


def test_both_forms_of_a_letter_are_one_name(log):
    assert log.pseudonym("Ann  Lee O\u0308zil ") == log.pseudonym(NAME)


def changed(lines):
    return [lines[0], lines[1].replace(b"enroll", b"remove", 1), *lines[2:]]


def rehashed(lines):
    """The changed line has the right hash; the next one then does not follow."""
    from edge_sphereface.audit import AuditEntry

    forged = AuditEntry.from_json(changed(lines)[1]).sealed().line()
    return [lines[0], forged, *lines[2:]]


@pytest.mark.parametrize(
    "change",
    [
        changed,
        rehashed,
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: lines[:-1],
        lambda lines: lines[:-2],
        lambda lines: [*lines[:-1], lines[-1][:-9]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0].replace(b": ", b":  ", 1), *lines[1:]],
        lambda lines: [b"x" * 40_000 + b"\n", *lines],
        lambda lines: [],
    ],
)
def test_every_change_is_found(path, change):
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert problems(path)


@pytest.mark.parametrize("change", [lambda lines: lines[:-1], lambda lines: [], lambda lines: changed(lines)[:2]])
def test_nothing_is_appended_to_an_audit_that_lacks_lines(path, log, change):
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    before = path.read_bytes()
    with pytest.raises(AuditError, match="does not end with line 5"):
        log.record("enroll", subject=NAME, by="door")
    with pytest.raises(AuditError, match="does not end with line 5"):
        log.prepare()
    assert path.read_bytes() == before


def test_the_anchor_is_sealed(path, log, tmp_path):
    lines = path.read_bytes().splitlines(keepends=True)
    anchor, first = tmp_path / "audit.jsonl.anchor", AuditLog(tmp_path / "other.jsonl")
    entry = first.record("enroll", subject=NAME, by="door")
    path.write_bytes(entry.line())
    anchor.write_bytes((tmp_path / "other.jsonl.anchor").read_bytes())
    assert "not made with the audit's key" in problems(path)[0]
    with pytest.raises(AuditError, match="was not made with the key"):
        log.prepare()
    path.write_bytes(b"".join(lines))
    anchor.unlink()
    assert "anchor" in problems(path)[0]
    with pytest.raises(AuditError, match="anchor .* is missing"):
        log.prepare()
    anchor.write_bytes(b"{}")
    assert "anchor" in problems(path)[0]


def test_a_noted_head_finds_what_the_owner_of_file_and_key_does(path, tmp_path):
    head = check_audit(path).head
    assert Head.parse(str(head)) == head
    for file in (path, tmp_path / "audit.jsonl.anchor", tmp_path / "audit.jsonl.key"):
        file.unlink()
    again = AuditLog(path)
    for _ in range(7):
        again.record("enroll", subject="somebody else", by="door")
    assert problems(path) == ()
    assert problems(path, head=head) == ("line 5 is not the one that was noted",)


UNSEALED = "line 6 is not sealed: power failed while it was written, or it was added by hand"


def test_a_line_without_a_seal_stays_visible(path, log, tmp_path, cli):
    """Power fails between a line and its anchor, or somebody adds a line with the right hash."""
    last = list(read_entries(path))[-1]
    forged = replace(last, sequence=6, action="remove", previous=last.hash).sealed().line()
    with path.open("ab") as stream:
        stream.write(forged + b'{"action": "enr')
    assert UNSEALED in problems(path)
    log.prepare()
    assert problems(path) == (UNSEALED,), "a look at it seals nothing"
    with pytest.warns(UserWarning, match=r"Line 6 of the audit .* had no seal"):
        assert log.record("enroll", subject=NAME, by="door").sequence == 8
    assert log.record("enroll", subject=NAME, by="door").sequence == 9
    assert [entry.action for entry in read_entries(path)][5:] == ["remove", "unsealed-line", "enroll", "enroll"]
    report = check_audit(path)
    assert (report.problems, report.unsealed, report.sealed) == ((), (6,), True)
    code, out, _ = cli("audit", "check", path)
    assert code == 0
    assert "\nline 6 had no seal when the audit went on" in out


def test_a_line_without_a_seal_in_a_full_file(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=1, now=lambda: NOON)
    log.prepare()
    anchor = tmp_path / "audit.jsonl.anchor"
    before = anchor.read_bytes()
    log.record("remove", subject=NAME, by="door")
    anchor.write_bytes(before)
    with pytest.warns(UserWarning, match="Line 1 of the audit"):
        log.record("enroll", subject=NAME, by="door")
    report = check_audit(tmp_path / "audit.jsonl")
    assert (report.entries, report.problems, report.unsealed) == (3, (), (1,))


@pytest.mark.parametrize("lines", [0, 1])
def test_a_truncated_audit_without_its_anchor_is_no_new_one(path, log, tmp_path, lines):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    (tmp_path / "audit.jsonl.anchor").unlink()
    before = path.read_bytes()
    assert "the anchor, which names the last line, is missing" in problems(path)[0]
    with pytest.raises(AuditError, match="anchor .* is missing"):
        log.record("enroll", subject=NAME, by="door")
    (tmp_path / "audit.jsonl.key").unlink()
    assert "the anchor, which names the last line, is missing" in problems(path)[0]
    if lines:
        with pytest.raises(AuditError, match=r"has begun, and its key .* is missing"):
            log.record("enroll", subject=NAME, by="door")
    assert path.read_bytes() == before


def test_without_the_key_the_seal_is_unchecked_and_nothing_is_appended(path, log, tmp_path, cli):
    key = tmp_path / "audit.jsonl.key"
    key.unlink()
    code, out, _ = cli("audit", "check", path)
    assert code == 0
    assert "5 lines, the seal is unchecked, as the key is not here" in out
    for _ in range(2):
        with pytest.raises(AuditError, match=r"has begun, and its key .* is missing"):
            log.record("enroll", subject=NAME, by="door")
        assert not key.exists()
    key.touch()  # an empty file is as good as none
    with pytest.raises(AuditError, match=r"has begun, and its key .* is missing"):
        log.prepare()


def test_power_fails_before_the_key_of_a_new_audit_is_written(tmp_path, log):
    log.prepare()
    (tmp_path / "audit.jsonl.key").write_bytes(b"")
    assert log.record("enroll", subject=NAME, by="door").sequence == 1
    assert problems(tmp_path / "audit.jsonl") == ()


def test_parts(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=1000)
    for _ in range(7):
        log.record("identify", subject="", by="door")
    assert {"audit.jsonl.000001", "audit.jsonl.000002"} < set(os.listdir(tmp_path))
    report = check_audit(tmp_path / "audit.jsonl")
    assert (report.entries, report.problems) == (7, ())
    first = tmp_path / "audit.jsonl.000001"
    end = list(read_entries(first))[-1]
    first.unlink()
    assert f"got line {end.sequence + 1}: lines were removed or moved away" in problems(tmp_path / "audit.jsonl")[0]
    after = Head(sequence=end.sequence, hash=end.hash)
    assert problems(tmp_path / "audit.jsonl", after=after) == ()


def test_several_writers(tmp_path):
    path = tmp_path / "audit.jsonl"

    def write(name):
        for _ in range(5):
            AuditLog(path, max_bytes=2000).record("identify", subject=name, by="door")

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = check_audit(path)
    assert (report.entries, report.problems) == (20, ())


def test_a_writer_that_never_ends_is_an_error(tmp_path, log):
    import fcntl

    log.prepare()
    with (tmp_path / "audit.jsonl.key").open("rb") as key:
        fcntl.flock(key, fcntl.LOCK_EX)
        with pytest.raises(AuditError, match="Another process"):
            AuditLog(tmp_path / "audit.jsonl", wait_s=0).record("enroll", subject=NAME, by="door")


@pytest.mark.parametrize(
    "wrong",
    [{"action": "En roll"}, {"by": ""}, {"by": "x" * 101}, {"detail": {"embedding": "0.1," * 128}}],
)
def test_what_is_no_entry_is_refused(log, path, wrong):
    with pytest.raises(AuditError, match="is not valid"):
        log.record(**{"action": "enroll", "subject": NAME, "by": "door", **wrong})
    assert problems(path) == ()


def test_places_that_cannot_be_written(tmp_path, log):
    with pytest.raises(AuditError, match="Cannot write the audit"):
        AuditLog(tmp_path / "missing" / "audit.jsonl").prepare()
    (tmp_path / "audit.jsonl.key").write_text("no key\n")
    with pytest.raises(AuditError, match="hexadecimal digits"):
        log.prepare()
    with pytest.raises(AuditError, match="There is no audit"):
        check_audit(tmp_path / "none.jsonl")
    (tmp_path / "other.jsonl").mkdir()
    with pytest.raises(AuditError):
        AuditLog(tmp_path / "other.jsonl").prepare()


def test_a_second_name_of_the_file_is_refused(path, log, tmp_path):
    os.link(path, tmp_path / "copy")
    with pytest.raises(AuditError, match="hard link"):
        log.prepare()


def test_commands_record_what_they_do(cli, photo, small_model, tmp_path, monkeypatch):
    path = tmp_path / "audit.jsonl"
    monkeypatch.setenv("EDGE_SPHEREFACE_AUDIT", str(path))
    gallery = ("--gallery", tmp_path / "people.db")
    assert cli("enroll", *gallery, "--model", small_model, NAME, photo)[0] == 0
    assert cli("identify", *gallery, "--model", small_model, photo, "--threshold", "0")[0] == 0
    assert cli("gallery", "remove", *gallery, NAME)[0] == 0
    entries = list(read_entries(path))
    subject = AuditLog(path).pseudonym(NAME)
    assert [(entry.action, entry.subject) for entry in entries] == [
        ("enroll", subject),
        ("identify", subject),
        ("remove", subject),
    ]
    assert b"Lee" not in b"".join(file.read_bytes() for file in tmp_path.glob("audit*"))
    (tmp_path / "audit.jsonl.anchor").unlink()
    code, _, err = cli("enroll", *gallery, "--model", small_model, NAME, photo)
    assert code == 1
    assert "audit.jsonl.anchor is missing" in err
    assert cli("gallery", "list", *gallery, "--json")[1].count(NAME) == 0, "nothing is done that the audit cannot hold"


def test_a_file_of_another_program_in_the_place_of_an_empty_audit_is_not_cut(log, tmp_path):
    log.prepare()
    path = tmp_path / "audit.jsonl"
    path.write_text('{"accounts": 5}')
    with pytest.raises(AuditError, match="begins otherwise"):
        log.record("enroll", subject=NAME, by="test")
    assert path.read_text() == '{"accounts": 5}'


@pytest.mark.parametrize("left", ["{", '{"action": "enr', "\0" * 50])
def test_what_a_power_failure_left_of_the_first_line_is_cut(log, tmp_path, left):
    log.prepare()
    path = tmp_path / "audit.jsonl"
    path.write_text(left)
    log.record("enroll", subject=NAME, by="test")
    assert [entry.sequence for entry in read_entries(path)] == [1]
    assert problems(path) == ()


@pytest.mark.skipif(os.name != "posix", reason="needs modes")
def test_a_file_that_is_no_key_keeps_its_mode(tmp_path):
    key = tmp_path / "precious"
    key.write_text("root:x:0:0")
    key.chmod(0o644)
    with pytest.raises(AuditError, match="hexadecimal digits"):
        AuditLog(tmp_path / "audit.jsonl", key=key).prepare()
    assert key.stat().st_mode & 0o777 == 0o644
    assert key.read_text() == "root:x:0:0"
