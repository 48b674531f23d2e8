"""In which order targets are looked at, and what reviewers together say of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from audit.review import conflicts, in_turn, most_informative, together
from audit.review.precision import ENOUGH, precision_interval
from audit.store.verdicts.log import Verdict

SUBJECTS = [f"{number}:0" for number in range(300)]


def test_the_order_is_that_of_the_digests_of_the_names() -> None:
    order = in_turn(SUBJECTS)
    assert order == sorted(SUBJECTS, key=lambda subject: hashlib.sha256(subject.encode()).hexdigest())
    assert in_turn(reversed(SUBJECTS)) == order


def test_targets_that_come_or_go_leave_the_order_of_the_others() -> None:
    some = set(SUBJECTS[::3])
    assert in_turn(some) == [subject for subject in in_turn(SUBJECTS) if subject in some]


def test_the_order_owes_nothing_to_the_order_of_samples_nor_to_their_slots() -> None:
    for slot in range(3):
        for start in range(0, 100_000, 20_000):
            order = in_turn(f"{number}:{slot}" for number in range(start, start + 20_000))
            places = [int(subject.split(":")[0]) - start for subject in order[:2000]]
            assert np.mean(places) == pytest.approx(9999.5, abs=4 * 20_000 / np.sqrt(12 * 2000))
            assert abs(np.corrcoef(places, np.arange(2000))[0, 1]) < 4 / np.sqrt(2000)


def test_next_is_always_the_next_in_turn_of_the_claim_that_is_known_least() -> None:
    orders = {"known": [f"{n}:0" for n in range(400)], "new": [f"{n}:1" for n in range(400)]}
    decisions = {f"{n}:0": "agree" if n % 2 else "disagree" for n in range(20)}
    queue = most_informative(orders, decisions, 60)
    own = {name: [subject for subject in queue if subject in set(order)] for name, order in orders.items()}
    assert own["new"] == orders["new"][: len(own["new"])]
    assert own["known"] == orders["known"][20 : 20 + len(own["known"])]
    assert queue[:4] == orders["new"][:4]
    assert len(own["new"]) > len(own["known"]) > 0


def test_claims_that_are_known_well_enough_are_left_and_the_queue_ends_when_all_are() -> None:
    order = [f"{n}:0" for n in range(60)]
    decisions = dict.fromkeys(order[:50], "agree")
    assert np.ptp(precision_interval(60, 50, 50)) <= ENOUGH
    assert most_informative({"known": order}, decisions, 100) == []
    queue = most_informative({"new": order}, {}, 1000)
    assert 10 < len(queue) < 60
    assert most_informative({"small": ["1:0", "2:0"], "none": []}, {}, 9) == ["1:0", "2:0"]


def test_a_target_of_two_claims_is_asked_once_and_counts_for_both() -> None:
    shared = [f"{n}:0" for n in range(40)]
    queue = most_informative({"one": shared, "two": list(shared)}, {}, 1000)
    assert len(queue) == len(set(queue))
    assert queue == shared[: len(queue)]
    assert queue == most_informative({"one": shared}, {}, 1000)


def test_what_is_decided_out_of_turn_counts_when_the_order_comes_to_it() -> None:
    order = [f"{n}:0" for n in range(300)]
    queue = most_informative({"claim": order}, {"1:0": "agree", "3:0": "disagree", "299:0": "agree"}, 4)
    assert queue == ["0:0", "2:0", "4:0", "5:0"]


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ([], None),
        (["agree"], "agree"),
        (["unsure", "unsure"], "unsure"),
        (["unsure", "disagree"], "disagree"),
        (["agree", "agree"], "agree"),
        (["agree", "disagree", "unsure"], "conflict"),
    ],
)
def test_reviewers_together_agree_disagree_or_are_in_conflict(decisions: list[str], said: str | None) -> None:
    assert together(decisions) == said


def test_the_conflict_that_was_decided_last_comes_first() -> None:
    def given(decision: str, time: str) -> Verdict:
        return Verdict(0, "", "", decision, "", "", time)

    standing = {
        "1:0": {"Ana": given("agree", "2026-01-03"), "Ben": given("disagree", "2026-01-01")},
        "2:0": {"Ana": given("agree", "2026-01-02"), "Ben": given("disagree", "2026-01-04")},
        "3:0": {"Ana": given("agree", "2026-01-05"), "Ben": given("unsure", "2026-01-05")},
    }
    assert conflicts(standing) == ["2:0", "1:0"]
