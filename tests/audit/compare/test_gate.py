"""What makes a run worse: paired differences tested together, by hand and on evaluations drawn of one law."""

from __future__ import annotations

import numpy as np
import pytest
from made_evidence import material
from paired_runs import change_between, draw_alike, draw_shortcut
from scipy.stats import binomtest, false_discovery_control

from audit.compare.claims import Both, renumbered
from audit.compare.gate import Asked, Change, paired_changes
from audit.findings.claims.context import Contexts
from audit.findings.claims.groups import Groups
from audit.findings.claims.spots import Spots
from audit.findings.claims.zones import Zones

FDR = 0.05


def worse(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.q <= FDR]


def test_each_change_has_the_exact_one_sided_p_and_the_q_of_all_in_which_an_image_changed(
    rng: np.random.Generator,
) -> None:
    asked = [Asked("class", str(k), "", rng.integers(0, 2, (2, 30)).astype(float), np.arange(30)) for k in range(6)]
    same = Asked("class", "same", "", np.ones((2, 30)), np.arange(30))
    changes = {change.name: change for change in paired_changes([*asked, same])}
    assert set(changes) == {one.name for one in asked}
    p = []
    for one in asked:
        more, fewer = (int(((one.event[1] - one.event[0]) == sign).sum()) for sign in (1, -1))
        p.append(binomtest(more, more + fewer, alternative="greater").pvalue)
        assert changes[one.name].p == pytest.approx(p[-1])
    assert [changes[one.name].q for one in asked] == pytest.approx(false_discovery_control(p))


def test_an_image_that_changes_in_many_targets_has_one_vote() -> None:
    event = np.stack([np.zeros(40), np.ones(40)])
    (change,) = paired_changes([Asked("all", "", "", event, np.repeat(np.arange(4), 10))])
    assert (change.flips.worse, change.p) == (4, pytest.approx(0.5**4))


def test_a_reason_tells_its_numbers() -> None:
    event = np.stack([np.zeros(40), np.arange(40) < 10])
    (change,) = paired_changes([Asked("claim", "zone:cat:border", "", event, np.arange(40))])
    assert change.reason().startswith("share of images that show zone:cat:border rose by 0.250 [")
    assert change.reason().endswith("; 10 images more, 0 fewer, p 0.00098, q 0.00098")


@pytest.mark.parametrize(("planted", "copies"), [(True, 1), (True, 4), (False, 1)])
def test_two_evaluations_of_one_law_are_seldom_told_apart_whatever_is_claimed_of_both(
    planted: bool, copies: int
) -> None:
    """Strong claims in both, others that stand in about every other evaluation, near-duplicates with one vote."""
    alarms = [bool(worse(change_between(*draw_alike(seed, planted, copies=copies)))) for seed in range(10)]
    assert sum(alarms) <= 1


def test_a_shortcut_in_a_fifth_of_a_class_of_a_hundred_is_found() -> None:
    found = [{change.name for change in worse(change_between(*draw_shortcut(seed)))} for seed in range(12)]
    assert np.mean([any("class 9" in name for name in names) for names in found]) >= 0.9


def test_which_claims_are_asked_does_not_depend_on_which_run_is_called_b() -> None:
    a, b = draw_shortcut(3)
    there, back = ({change.name: change for change in change_between(*pair)} for pair in ((a, b), (b, a)))
    assert set(there) == set(back)
    assert any(name.startswith(("zone", "spot")) for name in there)
    for name, change in there.items():
        assert (change.flips.worse, change.flips.better) == (back[name].flips.better, back[name].flips.worse)


@pytest.mark.parametrize("kind", [Zones(), Spots(), Contexts(), Groups()])
def test_a_claims_event_is_what_its_share_counts(kind: Zones | Spots | Contexts | Groups) -> None:
    evidence, _ = draw_alike(5)
    claims = [claim for claim in kind.test(material(evidence)) if claim.found]
    assert claims
    for claim in claims:
        event = kind.event(claim, evidence)
        # Images that no other class's are like in size are asked too, but were compared with nothing.
        more = 0.1 * claim.targets if kind.name == "context" else 0
        assert claim.targets <= np.isfinite(event).sum() <= claim.targets + more
        assert np.nanmean(event) == pytest.approx(claim.share, abs=0.03 if more else 1e-9)


def test_classes_and_values_that_another_run_numbers_otherwise_are_the_same_ones() -> None:
    evidence, _ = draw_alike(4)
    names, values = ("new", *evidence.classes[::-1]), {"a1": ("v2", "v1", "v0")}
    other = renumbered(evidence, names, values)
    np.testing.assert_array_equal(np.array(names)[other.class_id], np.array(evidence.classes)[evidence.class_id])
    context, before = (np.array(one.classes)[one.context["class_id"]] for one in (other, evidence))
    np.testing.assert_array_equal(context, before)
    codes, own = evidence.attributes["a1"]
    np.testing.assert_array_equal(np.array(values["a1"])[other.attributes["a1"][0]], np.array(own)[codes])


def test_both_runs_together_hold_each_target_twice_under_other_images() -> None:
    a, b = draw_alike(2)
    together = Both.of(a, b).together
    assert len(together) == 2 * len(a)
    assert not set(together.unit[: len(a)]) & set(together.unit[len(a) :])
    np.testing.assert_array_equal(together.off_heat[len(a) :], b.off_heat)
    beside = together.context["target"][len(a.context["target"]) :]
    np.testing.assert_array_equal(beside, b.context["target"] + len(a))


def test_runs_laid_together_come_apart_again_without_a_copy() -> None:
    a, b = draw_alike(2)
    both = Both.of(a, b)
    for before, after in zip((a, b), both.apart, strict=True):
        assert np.shares_memory(after.off_heat, both.together.off_heat)
        np.testing.assert_array_equal(after.off_heat, before.off_heat)
        np.testing.assert_array_equal(after.off, before.off)
        for name, values in before.context.items():
            np.testing.assert_array_equal(after.context[name], values)
