"""Heat that does not follow the object: the maps of other images of the class do as well on it as its own.

Objects of a class are often in the same part of the frame, and so is heat that owes nothing to them: about the middle,
at the bottom. A random place then does worse than the map, and few images look off the object. So a map is compared
with those of other images of its class, put on the same object. If heat followed nothing, half of them would do as
well. What maps and objects of a class share, their usual places and sizes, is on both sides of the comparison.

What is claimed is that more than `TOLERATED` of them do, on average over the class's images. Each image is in many of
the comparisons, so the error of that mean is the jackknife's: images are left out in turn (Arvesen 1969, U statistics).
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from audit.findings.claims.contrasts import Contrasts, Told
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.votes import Votes, choose
from audit.findings.evidence.targets import Frames
from audit.findings.records import Claim
from audit.stats.multiplicity import benjamini_hochberg
from audit.wording import percent

TOLERATED = 0.3
"""Share of the other maps that may do as well; maps of 7 x 7 values on large objects in the middle leave a quarter."""
FEWEST_MAPS = 10
"""With fewer images a mean rank tells nothing."""
LARGEST = 0.5
"""Share of the frame up to which an object tells maps apart; on one that fills the frame all do as well."""
_LEAST_SPREAD = 0.1
"""Of an image's share, where ties leave the jackknife none."""
_TIE = 1e-6


class Following(ClaimKind):
    """Claims `following`, one a class; see the module."""

    name = "following"
    title = "heat that does not follow the object"
    tests = "off-object shares"
    family = "class, by its other maps"
    question = "do the maps of other images of the class do as well on the object as the image's own?"
    compared_with = "the share tolerated, 0.3; half where heat follows nothing"
    stands = "q is small"
    numbers = "none; `targets` are the images that were compared"
    least = 0.0
    paired = False

    def test(self, material: Material) -> list[Claim]:
        """Claims of every class with images enough whose object is known."""
        votes = material.votes
        if not votes.off or material.frames is None:
            return []
        as_well = _as_well(
            votes, material.evidence.sample, material.frames, np.flatnonzero(votes.images >= FEWEST_MAPS)
        )
        class_ids = np.array(list(as_well), np.int64)
        contrasts = _contrasts(class_ids, list(as_well.values()))

        def tell(i: int) -> Told:
            says = _says(contrasts, i, material.names[class_ids[i]])
            return Told("does not follow its object", votes.rests_on, says, {})

        return self.family_in(material).claims(contrasts, material.names, tell, len(class_ids))


def _as_well(
    votes: Votes, sample: NDArray[np.integer], frames: Frames, class_ids: NDArray[np.integer]
) -> dict[int, NDArray[np.float64]]:
    """By class, `does_as_well` of the targets that were chosen; without classes that have too few."""
    chosen = choose(votes, sample, class_ids)
    rows = np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))
    heat, objects = frames(rows)
    places = (np.searchsorted(rows, own) for own in chosen)
    tells = objects.mean(axis=1) <= LARGEST
    telling = {int(class_id): own[tells[own]] for class_id, own in zip(class_ids, places, strict=True)}
    return {
        class_id: does_as_well(heat[own], objects[own]) for class_id, own in telling.items() if len(own) >= FEWEST_MAPS
    }


def does_as_well(heat: NDArray[np.floating], objects: NDArray[np.floating]) -> NDArray[np.float64]:
    """Whether map j puts as much heat on the object of image i as map i, [n, n]: 1, 0, 0.5 for ties; 0 for itself.

    Args:
        heat: [n, 64] shares of the heat by cell.
        objects: [n, 64] share of each cell that the object covers.
    """
    on_object = np.asarray(objects @ heat.T, np.float64)
    own = np.diag(on_object)[:, None]
    points = (on_object > own + _TIE) + 0.5 * (np.abs(on_object - own) <= _TIE)
    np.fill_diagonal(points, 0)
    return np.asarray(points, np.float64)


def mean_of_pairs(values: NDArray[np.floating]) -> tuple[float, float]:
    """Mean over all pairs of different images of values [n, n], and its standard error by the jackknife."""
    n, total = len(values), values.sum()
    without = (total - values.sum(axis=0) - values.sum(axis=1)) / ((n - 1) * (n - 2))
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    return float(total / (n * (n - 1))), float(error)


def _contrasts(class_ids: NDArray[np.integer], as_well: list[NDArray[np.float64]]) -> Contrasts:
    images = np.array([len(pairs) for pairs in as_well], np.int64)
    mean, error = np.array([mean_of_pairs(pairs) for pairs in as_well]).reshape(-1, 2).T
    error = np.maximum(error, _LEAST_SPREAD / np.sqrt(images))
    p = np.asarray(scipy.stats.t.sf((mean - TOLERATED) / error, images - 1), np.float64)
    half = scipy.stats.t.ppf(0.975, images - 1) * error
    low, high = np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1)
    q = benjamini_hochberg(p) if len(p) else p
    return Contrasts(class_ids, mean * images, images, np.full(len(images), TOLERATED), p, q, low, high)


def _says(contrasts: Contrasts, i: int, name: str) -> str:
    share = percent(contrasts.share[i])
    return (
        f"The heat of {contrasts.of[i]} images named {name} hardly follows the object: on an image's object {share} of "
        "the maps of the others do as well as its own; up to 30 % is tolerated, and 50 % is what chance gives."
    )
