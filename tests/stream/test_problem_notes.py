"""What is wrong is told when it begins, while it lasts, and when it is over; not each second."""

import pytest

from edge_sphereface.cli.problem_notes import ProblemNotes


@pytest.fixture
def after(capsys):
    """Sets what is wrong, lets seconds pass, and gives the lines that were told meanwhile."""
    now, wrong = [100.0], []
    notes = ProblemNotes(lambda: wrong, clock=lambda: now[0])

    def after(seconds, *problems):
        wrong[:] = problems
        for _ in range(seconds * 4):
            now[0] += 0.25
            notes.look()
        return capsys.readouterr().err.splitlines()

    return after


def test_a_problem_is_told_once_and_again_after_ten_minutes(after):
    assert after(30) == []
    assert after(5, "no broker") == ["problem: no broker"]
    assert after(500, "no broker", "disk full") == ["problem: disk full"]
    assert after(300, "no broker") == ["problem: no broker"]


def test_the_end_of_all_problems_is_told_after_a_minute(after):
    after(5, "no broker", "disk full")
    assert after(100, "no broker") == []
    assert after(50) == []
    assert after(20) == ["no problem for 60 s"]
    assert after(200) == []
    assert after(5, "no broker") == ["problem: no broker"]


def test_what_comes_and_goes_is_told_once(after):
    assert [after(3, "slow disk") + after(3) for _ in range(20)] == [["problem: slow disk"], *[[]] * 19]
