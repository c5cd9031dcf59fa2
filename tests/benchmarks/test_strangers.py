"""What the benchmark of strangers calls precision, recall and the better linkage."""

import numpy as np
import pytest

from benchmarks.strangers import days
from edge_sphereface.errors import PairsError


def photographs(people=8, each=10, *, size=64, spread=0.9):
    """Embeddings of invented people, and whom they show, by photograph."""
    chance = np.random.default_rng(0)
    found, shown = {}, {}
    for person in range(people):
        own = chance.standard_normal(size)
        for number in range(each):
            row = (own + spread * chance.standard_normal(size)).astype(np.float32)
            name = f"{person}/{number}.jpg"
            found[name], shown[name] = row / np.linalg.norm(row), str(person)
    return found, shown


def test_agreement_counts_pairs():
    groups, people = np.array([0, 0, 0, 1, 1, 2]), np.array([5, 5, 6, 6, 6, 7])
    same_group, same_person = (
        {(i, j) for i in range(6) for j in range(i) if of[i] == of[j]} for of in (groups, people)
    )
    right = len(same_group & same_person)
    found = days.agreement(groups, people)
    assert found.precision == pytest.approx(right / len(same_group))
    assert found.recall == pytest.approx(right / len(same_person))
    assert found.f1 == pytest.approx(2 * found.precision * found.recall / (found.precision + found.recall))


def test_without_pairs_nothing_is_claimed():
    found = days.agreement(np.arange(4), np.arange(4))
    assert (found.precision, found.recall, found.f1) == (None, None, None)


def test_photographs_are_dealt_to_thirty_days_and_people_to_two_halves():
    found, shown = photographs()
    found["0/0.jpg"] = np.full(64, np.nan, dtype=np.float32)
    dealt = days.deal(found, shown)
    assert len(dealt.people) == 79
    assert set(dealt.days) == set(range(1, 31))
    one, other = days.halves(dealt)
    assert len(set(one.people)) == len(set(other.people)) == 4
    assert not set(one.people) & set(other.people)
    with pytest.raises(PairsError, match="people"):
        days.deal(*photographs(people=3))


def test_the_threshold_between_people_is_chosen():
    divided = {"invented": days.halves(days.deal(*photographs()))}
    best = days.choose(divided)[0]
    assert best.f1 == best.judged_f1 == 1.0
    rows = days.judge("invented", divided["invented"][1], best)
    assert [row.days for row in rows] == [1, 7, 30]
    last = rows[-1]
    assert (last.sightings, last.people, last.recurring, last.groups, last.recurring_groups) == (40, 4, 4, 4, 4)
    assert last.agreement == days.PairAgreement(precision=1.0, recall=1.0, f1=1.0)
