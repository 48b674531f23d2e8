"""What off-object heat comes from: components, clusters, and the cards that say what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from blobs import LENGTH, blobs, make_evidence
from made_collections import Boxes, Law, draw_collection, in_the_middle, small_in_the_sky
from made_relevance import as_parts, leaking, with_cue
from numpy.typing import NDArray
from scipy.stats import hypergeom
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from audit.findings import Claim
from audit.findings.claims.clustering import LEAST_MEMBERS, NONE, Members, cluster_targets
from audit.findings.claims.clusters import SHEET, cluster_claims, middle_classes, zone
from audit.findings.evidence.targets import Evidence
from audit.stats.components import Moments, unit_length

CORNER, TEXTURE, PLAIN = 0, 1, 2
"""What the heat comes from."""


def members_of(cluster: NDArray[np.integer], halved: Iterable[int] = (0,)) -> Members:
    """Members of clusters [n] that either half of the class makes alike."""
    same = cluster.astype(np.int32)
    return Members(np.arange(len(same)), same, np.zeros(len(same), np.float32), same, frozenset(halved))


@pytest.fixture
def planted(rng: np.random.Generator) -> tuple[Evidence, NDArray[np.float16], NDArray[np.int64]]:
    """Two classes of 150: in the first a third rests on a corner, a third on a texture; they look off the object."""
    what = np.tile([CORNER, TEXTURE, PLAIN], 100)
    what[150:] = PLAIN
    class_id = np.repeat([0, 1], 150)
    off = what < PLAIN
    heat = np.full((300, 64), 1 / 64)
    heat[what == CORNER] = np.eye(64)[63]
    evidence = make_evidence(class_id, off=off, severity=off.astype(np.float32), off_heat=heat.astype(np.float16))
    return evidence, blobs(rng, what), what


def test_components_added_up_in_parts_are_those_of_sklearn(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12)) + 100
    moments = Moments(12)
    for part in np.split(vectors, [1, 7, 7, 150]):
        moments.add(part)
    found = moments.components(most=5, share=1.0)
    expected = PCA(5, svd_solver="full").fit(vectors)
    np.testing.assert_allclose(found.mean, expected.mean_)
    np.testing.assert_allclose(found.variance, expected.explained_variance_)
    np.testing.assert_allclose(np.abs(found.axes), np.abs(expected.components_), atol=1e-9)
    np.testing.assert_allclose(
        np.abs(found.project(vectors)), np.abs(expected.transform(vectors)), rtol=1e-3, atol=1e-4
    )


def test_the_fewest_components_that_hold_enough_variance_are_kept(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(500, 6)) * [10, 5, 2, 0.1, 0.1, 0.1]
    moments = Moments(6)
    moments.add(vectors)
    expected = int(np.searchsorted(np.cumsum(PCA().fit(vectors).explained_variance_ratio_), 0.95)) + 1
    assert len(moments.components(most=6, share=0.95).axes) == expected == 2


def test_components_of_equal_vectors_are_no_numbers_out_of_place() -> None:
    moments = Moments(4)
    moments.add(np.ones((9, 4)))
    assert np.abs(moments.components().project(np.ones((2, 4)))).max() == 0


def test_unit_length_is_that_of_sklearn_and_leaves_zeros(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(20, 5)).astype(np.float16)
    vectors[3] = 0
    np.testing.assert_allclose(unit_length(vectors), normalize(vectors.astype(np.float64)), atol=1e-6)


def test_what_lies_under_the_heat_comes_apart_by_class(
    planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]],
) -> None:
    evidence, under, what = planted
    members = cluster_targets(as_parts(evidence, under), evidence)
    first = members.cluster[:150]
    assert sorted(np.unique(first[first > NONE])) == [0, 1, 2]
    for cluster in range(3):
        kinds = what[:150][first == cluster]
        assert len(set(kinds)) == 1
        assert len(kinds) >= 45
    np.testing.assert_array_equal(members.target, np.arange(300))


def test_clusters_are_the_same_however_the_shards_divide_the_targets(
    planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]],
) -> None:
    evidence, under, _ = planted
    one = cluster_targets(as_parts(evidence, under, 300), evidence, most=60, seed=5)
    other = cluster_targets(as_parts(evidence, under, 17), evidence, most=60, seed=5)
    np.testing.assert_array_equal(one.cluster, other.cluster)
    np.testing.assert_allclose(one.distance, other.distance, rtol=1e-5)


def test_targets_that_were_not_drawn_go_to_the_nearest_middle_in_reach(
    planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]],
) -> None:
    evidence, under, what = planted
    members = cluster_targets(as_parts(evidence, under), evidence, most=75)
    first = members.cluster[:150]
    assert (first > NONE).mean() > 0.8
    for cluster in range(first.max() + 1):
        assert len(set(what[:150][first == cluster])) == 1


def test_a_target_beyond_every_cluster_s_reach_is_in_none(rng: np.random.Generator) -> None:
    what = np.tile([0, 1], 100)
    under = blobs(rng, what)
    strange = rng.normal(size=(20, LENGTH)).astype(np.float16)
    evidence = make_evidence(np.zeros(220, int), unit=np.r_[:200, :20])  # copies of an image are never drawn
    members = cluster_targets(as_parts(evidence, np.concatenate([under, strange])), evidence)
    assert (members.cluster[200:] == NONE).all()
    assert (members.distance[200:] > members.distance[:200][members.cluster[:200] > NONE].max()).all()
    assert (members.apart[200:] == NONE).all()


def test_assignment_is_that_of_a_search_over_all_middles(rng: np.random.Generator) -> None:
    what = rng.integers(0, 3, 400)
    under = blobs(rng, what)
    evidence = make_evidence(np.zeros(400, int))
    drawn = cluster_targets(as_parts(evidence, under), evidence, most=400)
    few = cluster_targets(as_parts(evidence, under), evidence, most=100)
    assert_same_partition(drawn.cluster, few.cluster)


def assert_same_partition(one: NDArray[np.integer], other: NDArray[np.integer]) -> None:
    both = (one > NONE) & (other > NONE)
    assert both.mean() > 0.8
    pairs = set(zip(one[both].tolist(), other[both].tolist(), strict=True))
    assert len(pairs) == len({pair[0] for pair in pairs}) == len({pair[1] for pair in pairs})


def test_targets_without_a_name_or_with_nothing_under_their_heat_are_not_listed(rng: np.random.Generator) -> None:
    under = blobs(rng, np.zeros(40, int))
    under[3], under[5, 0], under[6, 1] = 0, np.nan, np.inf
    evidence = make_evidence(np.zeros(40, int), named=np.arange(40) != 9)
    members = cluster_targets(as_parts(evidence, under), evidence)
    assert set(range(40)) - set(members.target.tolist()) == {3, 5, 6, 9}


def test_features_of_targets_that_the_evidence_lacks_are_passed_over(rng: np.random.Generator) -> None:
    under = blobs(rng, np.tile([0, 1], 30))
    evidence = make_evidence(np.zeros(50, int))
    more = [(np.arange(60), np.zeros(60, np.int16), under)]
    assert cluster_targets(lambda: more, evidence).target.max() == 49


def test_a_class_with_few_targets_and_a_run_without_features_have_no_clusters(rng: np.random.Generator) -> None:
    under = blobs(rng, np.tile([0, 1], 8))
    evidence = make_evidence(np.zeros(16, int))
    members = cluster_targets(as_parts(evidence, under), evidence)
    assert (members.cluster == NONE).all()
    assert np.isnan(members.distance).all()
    assert cluster_claims(members, evidence) == []
    nothing = cluster_targets(lambda: [], evidence)
    assert len(nothing.target) == 0
    assert cluster_claims(nothing, evidence) == []


def test_copies_of_one_image_make_no_cluster(rng: np.random.Generator) -> None:
    scattered = rng.normal(size=(60, LENGTH)).astype(np.float16)
    under = np.concatenate([scattered, np.repeat(scattered[:1], 60, axis=0)])
    evidence = make_evidence(np.zeros(120, int), unit=np.r_[:60, [0] * 60])
    members = cluster_targets(as_parts(evidence, under), evidence)
    assert (members.cluster[60:] == NONE).all()


def test_clusters_that_look_off_the_object_are_found_and_others_are_not(
    planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]],
) -> None:
    evidence, under, what = planted
    members = cluster_targets(as_parts(evidence, under), evidence)
    rows = cluster_claims(members, evidence)
    for row in rows:
        own = members.target[:150][members.cluster[:150] == int(row.subject)]
        assert row.class_id == 0
        assert row.found == bool(what[own[0]] < PLAIN)
        assert row.details["off_share"] == evidence.off[own].mean()
        assert row.share is not None
        assert row.share == pytest.approx(row.found * len(own) / 150, abs=0.05)
        assert (row.targets, row.expected, row.tested) == (150, 0, len(rows))
    assert sum(row.found for row in rows) == 2


def test_a_target_is_tested_in_a_cluster_that_the_other_half_of_its_class_made(
    planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]],
) -> None:
    evidence, under, _ = planted
    members = cluster_targets(as_parts(evidence, under), evidence)
    half = np.random.default_rng(0).permutation(300) % 2
    points = unit_length(under[:150])
    for number in (0, 1):
        other = [points[(half[:150] != number) & (members.cluster[:150] == cluster)] for cluster in range(3)]
        middles = np.stack([vectors.mean(axis=0) for vectors in other])
        nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(axis=1)
        own = (half[:150] == number) & (members.apart[:150] > NONE)
        assert own.sum() > 50
        np.testing.assert_array_equal(members.apart[:150][own], nearest[own])
    assert members.halved == {0}


def test_a_card_says_how_many_where_and_who(planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]]) -> None:
    evidence, under, what = planted
    members = cluster_targets(as_parts(evidence, under), evidence)
    corner = members.cluster[:150][what[:150] == CORNER].max()
    (row,) = [r for r in cluster_claims(members, evidence) if r.claim_id == f"cluster:class0:{corner}"]
    details = row.details
    own = members.target[:150][members.cluster[:150] == corner]
    nearest = own[np.argsort(members.distance[:150][members.cluster[:150] == corner])]
    assert details["zone"] == "bottom-right corner"
    assert details["size"] == len(own)
    assert details["severity"] == 1
    assert details["typical"] == nearest[:3].tolist()
    assert details["untypical"] == nearest[::-1][:3].tolist()
    assert len(details["sheet"]) == SHEET
    assert details["sheet"][0] == [nearest[0], 0]
    assert details["sheet"][-1] == [nearest[-1], 0]
    apart = np.count_nonzero(members.apart[:150] == corner)
    assert row.says == (
        f"In {apart} of 150 images named class0 heat lies off the object and comes from the same channels, mostly in "
        "the bottom-right corner; in the middle one of the other classes, with objects as large, 0 % look off them at "
        "all."
    )


def test_attributes_that_a_cluster_has_more_often_are_named(
    planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]], rng: np.random.Generator
) -> None:
    evidence, under, what = planted
    source = np.where(what == CORNER, 1, 0).astype(np.int32)
    camera = rng.integers(-1, 3, 300).astype(np.int32)
    number = np.arange(300, dtype=np.int32)
    attributes = {
        "source": (source, ("web", "archive")),
        "camera": (camera, ("a", "b", "c")),
        "number": (number, tuple(map(str, number))),
    }
    evidence = replace(evidence, attributes=attributes)
    members = cluster_targets(as_parts(evidence, under), evidence)
    corner = members.cluster[:150][what[:150] == CORNER].max()
    (row,) = [r for r in cluster_claims(members, evidence) if r.claim_id == f"cluster:class0:{corner}"]
    (found,) = row.details["attributes"]
    assert (found["attribute"], found["value"], found["inside"]) == ("source", "archive", 1.0)
    assert "source archive in 100 % (" in row.says


def test_attribute_values_that_a_cluster_has_none_of_were_tested_too() -> None:
    codes = np.repeat([0, 1, 1, 2, 3, 4, 5, 6], [8, 12, 10, 2, 2, 2, 2, 2]).astype(np.int32)  # 20 in it, 20 in the rest
    evidence = make_evidence(np.zeros(40, int), attributes={"camera": (codes, tuple("abcdefgh"))})
    (row,) = cluster_claims(members_of(np.repeat([0, NONE], 20)), evidence)
    (found,) = row.details["attributes"]
    assert found["p"] == pytest.approx(hypergeom(40, 8, 20).sf(7))
    assert found["q"] == pytest.approx(7 * found["p"])  # `h` is in no image


def test_without_known_objects_clusters_are_shown_but_not_tested(
    planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]],
) -> None:
    evidence, under, _ = planted
    blind = replace(evidence, known=np.zeros(300, bool), off=np.zeros(300, bool))
    rows = cluster_claims(cluster_targets(as_parts(blind, under), blind), blind)
    assert len(rows) >= 3
    for row in rows:
        assert (row.share, row.p, row.q, row.found, row.tested) == (None, None, None, False, 0)
        assert row.says.endswith("too few objects are known, of these or of other classes' images, to test them.")


def test_a_cluster_in_which_less_than_half_look_off_the_object_is_not_found() -> None:
    off = np.zeros(400, bool)
    off[:90] = True  # 90 of 200, against none of 200
    class_id = np.repeat([0, 1], 200)
    (row,) = cluster_claims(members_of(np.repeat([0, NONE], 200)), make_evidence(class_id, off=off))
    assert row.q is not None
    assert row.q < 1e-6
    assert not row.found


def test_a_cluster_that_looks_off_the_object_less_often_than_its_class_is_not_found() -> None:
    off = np.r_[np.arange(100) < 70, np.arange(100) < 90, np.zeros(200, bool)]
    evidence = make_evidence(np.repeat([0, 1], 200), off=off)
    rows = cluster_claims(members_of(np.repeat([0, 1, NONE], [100, 100, 200])), evidence)
    assert [(row.q is not None and row.q < 1e-6, row.found) for row in rows] == [(True, False), (True, True)]


def test_near_duplicates_have_one_vote() -> None:
    off = np.arange(80) < 20
    evidence = make_evidence(np.repeat([0, 1], 40), off=off, unit=np.r_[[0] * 20, 1:61])
    (row,) = cluster_claims(members_of(np.repeat([0, NONE], [20, 60])), evidence)
    assert row.share == 1 / 21
    assert not row.found


def test_a_cluster_is_held_against_the_middle_class_at_objects_as_large(rng: np.random.Generator) -> None:
    class_id, large = rng.integers(0, 6, 900), rng.random(900) < 0.5
    off = rng.random(900) < np.array([0.3, 0.9, 0.8, 0.4, 0.1, 0.0])[class_id] * np.where(large, 1, 0.5)
    area = np.where(large[:, None], 0.7, 0.97).repeat(64, axis=1) / 64
    cluster = np.where(class_id == 0, rng.integers(0, 2, 900), NONE)
    evidence = make_evidence(class_id, off=off, off_area=area.astype(np.float16))
    rows = cluster_claims(members_of(cluster), evidence)
    assert len(rows) == 2
    for row in rows:
        own, inside, middle = class_id == 0, cluster == int(row.subject), class_id == 3
        expected = sum(off[middle & (large == size)].mean() * (large[own] == size).mean() for size in (False, True))
        assert row.share == pytest.approx((off & inside)[own].mean())
        assert row.expected == pytest.approx(expected)


def test_the_middle_is_of_classes_that_share_sizes_and_is_two_of_an_even_number() -> None:
    every = np.array([[50, 0], [0, 60], [40, 9], [30, 0], [4, 80], [30, 1]])
    off = np.array([[9, 0], [0, 50], [4, 9], [30, 0], [4, 80], [6, 0]])
    assert middle_classes(0, off, every).tolist() == [5]  # of 2, 5 and 3, whose shares are 0.1, 0.2 and 1
    assert middle_classes(0, off[[0, 2, 3]], every[[0, 2, 3]]).tolist() == [1, 2]
    assert middle_classes(0, off[:2], every[:2]).tolist() == []


def test_without_another_class_a_cluster_is_not_tested() -> None:
    evidence = make_evidence(np.zeros(60, int), off=np.arange(60) < 30)
    (row,) = cluster_claims(members_of(np.repeat([0, NONE], 30)), evidence)
    assert (row.share, row.p, row.found) == (None, None, False)


def test_a_class_too_small_to_be_halved_shows_clusters_without_a_test(rng: np.random.Generator) -> None:
    what = np.tile([0, 1], 10)
    evidence = make_evidence(np.repeat([0, 1], [20, 60]), off=np.r_[what == 0, np.zeros(60, bool)])
    members = cluster_targets(as_parts(evidence, blobs(rng, np.r_[what, [2] * 60])), evidence, seed=4)
    assert members.halved == frozenset()
    assert (members.apart == NONE).all()
    rows = cluster_claims(members, evidence)
    assert [(row.p, row.found, row.details["off_share"]) for row in rows] in ([(None, False, 1), (None, False, 0)],) * 2
    assert all("too few images to make the same clusters from either half" in row.says for row in rows)


def test_clusters_of_noise_are_hardly_ever_found() -> None:
    """Benjamini-Hochberg at 5 % over clusters that have nothing to do with looking off the object."""
    runs = [noise_run(seed) for seed in range(40)]
    assert np.mean([any(row.found for row in rows) for rows in runs]) <= 0.06
    assert min(len(rows) for rows in runs) == 20


def noise_run(seed: int) -> list[Claim]:
    rng = np.random.default_rng(seed)
    class_id = np.repeat(np.arange(5), 100)
    members = members_of(rng.integers(-1, 4, 500), range(5))
    return cluster_claims(members, make_evidence(class_id, off=rng.random(500) < 0.6))


@pytest.mark.parametrize(("boxes", "classes", "images"), [(small_in_the_sky, 6, 100), (in_the_middle, 12, 40)])
def test_where_relevance_only_tells_whose_the_heat_is_there_are_no_claims(
    boxes: Callable[..., Boxes], classes: int, images: int
) -> None:
    """Without a cue, what leaks of the object divides every class by whether it looks off the object."""
    false, divides = [], []
    for seed in range(10):
        collection = draw_collection(Law(boxes, 0.3), classes, images, seed)
        evidence, relevance = collection.evidence, leaking(collection, np.random.default_rng(seed))
        members = cluster_targets(as_parts(evidence, relevance), evidence)
        rows = cluster_claims(members, evidence)
        false.append(any(row.found for row in rows))
        divides.append(any(divides_its_class(row, members, evidence) for row in rows))
    assert np.mean(false) <= 0.06
    assert np.mean(divides) > 0.4


def divides_its_class(row: Claim, members: Members, evidence: Evidence) -> bool:
    """Whether the cluster looks off the object and the rest of its class less often, beyond chance, on other halves."""
    own = evidence.class_id[members.target] == row.class_id
    off, inside = evidence.off[members.target][own], members.apart[own] == int(row.subject)
    p = hypergeom(len(off), off.sum(), inside.sum()).sf((off & inside).sum() - 1)
    return bool(p <= 0.05 / row.tested and (off & inside).sum() > inside.sum() / 2)


@pytest.mark.parametrize(("share", "images", "classes"), [(0.4, 100, 6), (0.3, 200, 6)])
def test_a_cue_that_part_of_a_class_relies_on_is_a_claim_about_that_class_alone(
    share: float, images: int, classes: int
) -> None:
    found = []
    for seed in range(4):
        collection, relevance, relies = with_cue(in_the_middle, share, images, classes, seed)
        members = cluster_targets(as_parts(collection.evidence, relevance), collection.evidence)
        claims = [row for row in cluster_claims(members, collection.evidence) if row.found]
        assert all(row.class_id == 0 for row in claims)
        found.append(bool(claims))
        for row in claims:
            own = collection.evidence.class_id[members.target] == 0
            inside = members.target[own & (members.cluster == int(row.subject))]
            assert relies[inside].mean() > 0.8
    assert np.mean(found) > 0.8


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        ([(0, 0), (1, 1)], "top-left corner"),
        ([(6, 0)], "bottom-left corner"),
        ([(3, 3), (4, 5)], "centre"),
        ([(0, 3), (4, 7), (7, 4)], "border"),
        ([(1, 2), (2, 6), (3, 1)], "upper half"),
        ([(5, 2), (6, 6), (4, 1)], "lower half"),
    ],
)
def test_the_smallest_zone_that_the_heat_lies_in_is_named(cells: Iterable[tuple[int, int]], name: str) -> None:
    heat = np.zeros((8, 8))
    for cell in cells:
        heat[cell] = 1
    assert zone(heat.ravel()) == name


def test_heat_that_is_nowhere_or_everywhere_lies_in_no_zone() -> None:
    assert zone(np.zeros(64)) is None
    assert zone(np.ones(64)) is None
    assert zone(np.repeat([0.45, 0.55], 32)) is None  # a little more below


def test_clusters_have_enough_members(planted: tuple[Evidence, NDArray[np.float16], NDArray[np.int64]]) -> None:
    evidence, under, _ = planted
    members = cluster_targets(as_parts(evidence, under), evidence)
    sizes = np.bincount(members.cluster[:150][members.cluster[:150] > NONE])
    assert (np.diff(sizes) <= 0).all()
    assert sizes.min() >= LEAST_MEMBERS
