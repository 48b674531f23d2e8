"""Which channels set a claim apart: counted by hand, calibrated under chance, with near-copies as one witness."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import numpy as np
from numpy.typing import NDArray
from test_clusters import make_evidence

from audit.findings import Claim
from audit.findings.channels import Origins, claim_channels, strongest
from audit.findings.evidence.targets import Evidence
from audit.findings.records import NOBODY, OTHERS, REST
from audit.store.layout import LEADING


def a_claim(class_id: int | None = 0, kind: str = "class", subject: str = "") -> Claim:
    numbers = {"share": 0.5, "low": 0.4, "high": 0.6, "expected": 0.1, "p": 0.0, "q": 0.0, "fdr": 0.05}
    return Claim(
        claim_id=f"{kind}:{class_id}:{subject}",
        kind=kind,
        class_id=class_id,
        class_name=None if class_id is None else f"class{class_id}",
        subject=subject,
        targets=10,
        **numbers,
        family="class",
        tested=2,
        found=True,
        rests_on="masks",
        says="",
        details={},
    )


def origins_of(channel: NDArray[np.integer], share: NDArray[np.floating] | None = None) -> Origins:
    """Every target's leading channels [n, m], filled up to as many as are kept."""
    n, most = channel.shape
    full = np.full((n, LEADING), -1)
    full[:, :most] = channel
    shares = np.where(full >= 0, 1 / LEADING, 0) if share is None else np.zeros((n, LEADING))
    if share is not None:
        shares[:, :most] = share
    return Origins(np.arange(n), full, shares.astype(np.float32), np.tile(np.arange(LEADING), (n, 1)))


def draw(rng: np.random.Generator, n: int, channels: int = 40) -> NDArray[np.int64]:
    """Leading channels of n targets that owe nothing to anything."""
    return np.stack([rng.permutation(channels)[:LEADING] for _ in range(n)])


def planted(n: int = 60, seed: int = 0) -> tuple[Evidence, Origins]:
    """Half of class 0 looks off the object, and there channel 7 leads; so it does in a tenth of its other images."""
    rng = np.random.default_rng(seed)
    class_id, off = np.repeat([0, 1], n), np.tile([True, False], n) & (np.arange(2 * n) < n)
    channel = draw(rng, 2 * n)
    channel[channel == 7] = 39
    leads = off | (rng.random(2 * n) < 0.1)
    channel[leads, 0] = 7
    share = np.full(channel.shape, 0.05)
    share[leads, 0] = 0.4
    return make_evidence(class_id, off=off), origins_of(channel, share)


def test_the_channel_of_the_cue_comes_first_with_fishers_p_counted_by_hand() -> None:
    evidence, origins = planted()
    first, *others = claim_channels([a_claim()], evidence, origins)
    carries = (origins.channel[:60] == 7).any(axis=1)
    inside, outside = int(carries[evidence.off[:60]].sum()), int(carries[~evidence.off[:60]].sum())
    assert (first.channel, first.place, first.apart, first.against) == (7, 1, True, REST)
    assert (first.carries, first.images, first.of_others, first.others) == (inside, 30, outside, 30)
    ways = sum(comb(30, k) * comb(30, inside + outside - k) for k in range(inside, 31) if k <= inside + outside)
    np.testing.assert_allclose(first.p, ways / comb(60, inside + outside), rtol=1e-6)
    np.testing.assert_allclose(first.share, 0.4, rtol=1e-6)
    np.testing.assert_allclose(first.share_of_others, 0.4 * outside / 30, rtol=1e-6)
    assert not any(row.apart for row in others)


def test_where_the_class_has_hardly_another_image_other_classes_stand_for_them() -> None:
    evidence, origins = planted()
    everywhere = replace(evidence, off=evidence.class_id == 0)
    assert {row.against for row in claim_channels([a_claim()], everywhere, origins)} == {OTHERS}
    told = claim_channels([a_claim()], replace(everywhere, named=evidence.class_id == 0), origins)
    assert {row.against for row in told} == {NOBODY}
    assert all(row.p is None and row.q is None and not row.apart for row in told)
    assert told[0].channel == 7  # then the largest share comes first


def test_near_copies_have_one_vote() -> None:
    evidence, origins = planted()
    (first, *_), unit = claim_channels([a_claim()], evidence, origins), evidence.unit.copy()
    unit[np.flatnonzero(evidence.off)] = 0  # all that show it are copies of one image
    told = claim_channels([a_claim()], replace(evidence, unit=unit), origins)
    assert first.images == 30
    assert {row.images for row in told} == {1}
    assert not any(row.apart for row in told)


def test_channels_are_set_apart_by_chance_in_no_more_claims_than_the_rate_allows() -> None:
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        evidence = make_evidence(np.zeros(40, int), off=rng.random(40) < 0.5)
        wrong += any(row.apart for row in claim_channels([a_claim()], evidence, origins_of(draw(rng, 40))))
    assert wrong <= 15  # 10 expected at most; of binomial(200, 0.05) more than 15 come in one of twenty


def test_a_claim_about_all_classes_is_compared_class_for_class() -> None:
    """Class 1 has a channel of its own and looks off its objects more often: pooled, the channel would stand out."""
    rng = np.random.default_rng(1)
    class_id = np.repeat([0, 1], 100)
    off = np.concatenate([np.arange(100) < 10, np.arange(100) < 90])
    channel = draw(rng, 200)
    channel[channel == 7] = 39
    channel[class_id == 1, 0] = 7
    codes = {"site": (np.zeros(200, np.int32), ("south",))}
    claim = replace(
        a_claim(None, "group", "site=south"), details={"attribute": "site", "value": "south", "measure": "off"}
    )
    told = claim_channels([claim], make_evidence(class_id, off=off, attributes=codes), origins_of(channel))
    assert {(row.images, row.others) for row in told} == {(100, 100)}
    assert not any(row.apart for row in told)


def test_patches_are_the_strongest_targets_of_distinct_units() -> None:
    sample, slot, cell = np.arange(12), np.zeros(12, int), np.arange(12) + 100
    strength, unit = np.arange(12.0), np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9])
    assert strongest(sample, slot, cell, strength, unit) == [(11, 0, 111), *((k, 0, k + 100) for k in range(8, 0, -1))]
    evidence, origins = planted()
    first, *_ = claim_channels([a_claim()], evidence, origins)
    shown = [tuple(row) for row in first.patches["targets"]]
    assert len(shown) == len({evidence.unit[sample] for sample, *_ in shown}) == 9
    assert all(evidence.off[sample] and origins.channel[sample, cell] == 7 for sample, _, cell in shown)
