"""Contrasts as claims: which are told, in which order, and why one does not stand."""

from __future__ import annotations

import numpy as np

from audit.findings.claims.contrasts import ALL_CLASSES, Contrasts, Family, Told


def contrasts() -> Contrasts:
    """Five: alike in q but not in excess; one too small; one chance among so many; one that is not told at all."""
    shows, of = np.array([30, 60, 30, 40, 20]), np.full(5, 100)
    expected, p = np.array([0.25, 0.49, 0.1, 0.1, 0.2]), np.array([0.01, 0.01, 0.01, 0.04, 0.5])
    q = np.array([0.02, 0.02, 0.02, 0.08, 0.5])
    return Contrasts(np.array([0, 1, 2, 0, ALL_CLASSES]), shows, of, expected, p, q, shows / of - 0.1, shows / of + 0.1)


def test_those_that_stand_come_first_then_by_q_then_by_how_far_they_exceed_the_other() -> None:
    family = Family("zone", "class x zone", 0.05, 0.1)
    claims = family.claims(contrasts(), ("a", "b", "c"), lambda i: Told(str(i), "masks", f"Told {i}.", {}), 9)
    assert [claim.subject for claim in claims] == ["2", "1", "0", "3"]
    assert [claim.found for claim in claims] == [True, True, False, False]
    assert [claim.says for claim in claims] == [
        "Told 2.",
        "Told 1.",
        "Told 0. That is too small a difference to matter.",
        "Told 3. With so many comparisons that may be chance.",
    ]
    assert {(claim.family, claim.fdr, claim.tested) for claim in claims} == {("class x zone", 0.05, 9)}


def test_what_else_a_claim_needs_is_said_where_it_lacks() -> None:
    family, more = Family("zone", "class x zone", 0.05, 0.1), np.array([True, False, True, True, True])
    told = family.claims(contrasts(), ("a", "b", "c"), lambda i: Told(str(i), "masks", "It is.", {}), 9, more)
    assert [(claim.subject, claim.found) for claim in told[:2]] == [("2", True), ("1", False)]
    assert (
        told[1].says
        == "It is. But it is no more than the area accounts for, or where objects of the class are known to be."
    )
