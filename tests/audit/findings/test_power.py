"""What silence is worth: how often a shortcut of the share that is called detectable is found."""

from __future__ import annotations

from dataclasses import replace

import certified
import numpy as np
import pytest
from drawn_classes import alike
from made_evidence import draw_evidence, material
from scipy.stats import binom

from audit.findings.claims.kind import Material
from audit.findings.claims.registry import CLAIM_KINDS, all_detectable
from audit.findings.claims.whole_class import WholeClasses, class_findings
from audit.findings.pages.unfound import explain_silence
from audit.findings.power import Detectable, least_counts, least_shares, silence, standing_out
from audit.findings.records import ClassFinding
from audit.findings.rules import Rules

RULES = Rules()
CLASSES = tuple("abcdefgh")


def judged(off: list[int], of: list[int]) -> list[ClassFinding]:
    """Classes with so many images off the object, of so many named with confidence."""
    class_id = np.repeat(np.arange(len(of)), of)
    ones = np.ones(len(class_id))
    columns = {"class_id": class_id, **dict.fromkeys(("probability", "energy", "area", "lift"), ones), "vote": ones > 0}
    is_off = np.concatenate([np.arange(count) < few for few, count in zip(off, of, strict=True)])
    return class_findings(columns, is_off, CLASSES, RULES)


def detectable(rows: list[ClassFinding]) -> list[Detectable]:
    return WholeClasses().detectable(Material(draw_evidence(1), RULES, classes=rows))


@pytest.mark.parametrize(("of", "count"), [(20, 15), (8, 8), (200, 120)])
def test_the_least_share_is_the_one_that_is_seen_often_enough_in_95_of_100_collections(of: int, count: int) -> None:
    share, never = least_shares(np.array([of, of]), np.array([count, of + 1]))
    assert share is not None
    assert binom.sf(count - 1, of, share) == pytest.approx(0.95)
    assert never is None


def test_the_least_counts_are_the_first_whose_p_is_small_enough() -> None:
    of, half = np.array([9, 9, 3, 0]), np.array([1.0, 2.0, 1.0, 1.0])
    for level in (1.0, 0.3, 2.0**-9, 1e-9):
        by_loops = [
            next((x for x in range(n + 1) if (h / 2.0) ** x <= level), n + 1)
            for n, h in zip(of.tolist(), half.tolist(), strict=True)
        ]
        assert least_counts(of, lambda x: (half / 2) ** x, level).tolist() == by_loops


@pytest.mark.parametrize(("kind", "images"), [(kind, 400 if kind == "context" else 30) for kind in certified.KINDS])
def test_a_shortcut_is_found_at_the_share_that_is_called_detectable(kind: str, images: int) -> None:
    draws = 24 if kind in ("spot", "zone") else 60
    found, certain = certified.coverage(kind, draws, images)
    assert certain == draws
    assert found >= 0.86


@pytest.mark.parametrize("kind", ["class", "absent", "group"])
def test_half_of_that_share_is_found_far_less_often(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claim_kind = type(CLAIM_KINDS[kind])
    certify = claim_kind.detectable
    halved = lambda self, made: [  # noqa: E731
        Detectable(row.class_name, row.kind, row.subject, row.how, row.share and row.share / 2)
        for row in certify(self, made)
    ]
    monkeypatch.setattr(claim_kind, "detectable", halved)
    assert certified.coverage(kind, 30, 30)[0] < 0.7


def test_other_images_off_the_object_make_the_certificate_more_careful_not_less() -> None:
    quiet, loud = (detectable(alike(share, images=100).findings(0))[0].share for share in (0.01, 0.2))
    assert quiet is not None
    assert loud is not None
    assert quiet < loud


def test_every_kind_that_certifies_names_its_classes_groups_and_what_the_shortcut_does() -> None:
    evidence = draw_evidence(600, 5)
    rows = all_detectable(material(evidence))
    assert {row.kind for row in rows} == {"spot", "zone", "context", "absent", "group"}
    for row in rows:
        assert row.class_name in evidence.classes or (row.kind == "group" and "=" in row.subject)
        assert row.how
        assert row.share is None or 0 < row.share <= 1


def test_classes_beyond_what_is_tolerated_stand_out_with_what_would_settle_it() -> None:
    rows = judged([6, 7, 2, 1, 30, 3], [9, 12, 2, 1, 30, 30])
    first, second = standing_out(rows, RULES)
    assert (first.class_name, first.off_object, first.confident) == ("a", 6, 9)
    assert (second.class_name, second.off_object, second.confident) == ("b", 7, 12)
    assert first.more is not None
    assert second.more is not None
    settled = judged([(9 + first.more) * 6 // 9, 7, 2, 1, 30, 3], [9 + first.more, 12, 2, 1, 30, 30])
    assert {row.class_name for row in settled if row.q is not None and row.q <= 0.05} >= {"a", "e"}


def test_silence_is_told_in_sentences_the_least_known_classes_first() -> None:
    rows = judged([0, 3], [200, 30])
    more = [
        Detectable("a", "zone", "", "if it draws heat to a corner", 0.123),
        Detectable("a", "context", "rail", "if it draws heat to rail, where both are shown", None),
        Detectable("c", "class", "", "if it draws the heat off the object", None),
        Detectable(None, "group", "camera=x", "were named wrongly", 0.31),
        Detectable(None, "group", "camera=x", "were looked at off the object", 0.995),
        Detectable(None, "group", "camera=y", "were named wrongly", None),
    ]
    thin, _, wide, hopeless, group, stands_out = explain_silence(silence([*detectable(rows), *more], [], rows, RULES))
    assert thin == "c: too few images to find any shortcut"
    assert wide.startswith("a: a shortcut in ")
    assert wide.endswith(
        " % or more of the images would have been found if it draws the heat off the object, in 12 % or more if it "
        "draws heat to a corner; rarer ones may be there"
    )
    assert hopeless == "Images with camera=y: too few to find that they are worse"
    assert group == (
        "Images with camera=x: it would have been found if 31 % or more were named wrongly, or nearly all were looked "
        "at off the object; rarer ones may be there"
    )
    assert stands_out.startswith("b stands out: 3 of 30 images look off the object, too few to be sure; ")
    assert explain_silence({}) == []


def test_of_classes_and_groups_that_a_claim_is_about_nothing_is_certified() -> None:
    evidence = draw_evidence(600, 5)
    made = material(evidence)
    rows = all_detectable(made)
    claim = next(claim for kind in CLAIM_KINDS.values() for claim in kind.test(made))
    about_class, about_group = (
        replace(claim, found=True, class_name=name, subject=subject)
        for name, subject in (("class 1", "border"), (None, "a0=v1"))
    )
    kept = silence(rows, [about_class, about_group], [], RULES)["detectable"]
    assert len(kept) == sum(row.class_name != "class 1" and row.subject != "a0=v1" for row in rows) < len(rows)
