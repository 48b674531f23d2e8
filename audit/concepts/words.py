"""Words for patches: the nearest of a list, by a network that knows pictures and words (CLIP, Radford et al. 2021).

A word's score is how much nearer it is to the patches, on average, than to other parts of the same images. The highest
of a long list is high by chance too. So the patches are mixed with those other parts, and as many are drawn again and
again: what the best word of such a draw scores is what chance gives. A word is told with its margin over the 95 %
quantile of that; one at or below 0 is no better than chance. Words are never without their patches: they say what is
nearest in a list, not what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

DRAWS = 500
LEVEL = 0.95
TOLD = 3
_LIST = "words.txt"
PROMPT = "a photo of {}"


@dataclass(frozen=True)
class Word:
    """A word that is near to patches.

    Attributes:
        score: mean cosine with the patches less that with other parts of their images.
        margin: of the score over what the best word of random parts scores in 95 % of draws.
    """

    word: str
    score: float
    margin: float


def builtin_words() -> tuple[str, ...]:
    """Things that shortcuts are often made of."""
    return tuple(files("audit.concepts").joinpath(_LIST).read_text(encoding="utf-8").splitlines())


def nearest_words(
    words: Sequence[str],
    texts: NDArray[np.floating],
    patches: NDArray[np.floating],
    others: NDArray[np.floating],
    seed: int = 0,
) -> list[Word]:
    """The nearest of a list of words, best first.

    Args:
        texts: [m, D] of the words, at unit length.
        patches: [n, D], at unit length.
        others: [k, D] other parts of the same images, at unit length.

    Raises:
        ValueError: there are no patches, or nothing to compare them with.
    """
    if not len(patches) or not len(others):
        raise ValueError(f"Expected patches, and other parts of their images; got {len(patches)} and {len(others)}")
    near, count = np.concatenate([patches, others]) @ texts.T, len(patches)
    score = near[:count].mean(axis=0) - near[count:].mean(axis=0)
    rng, best = np.random.default_rng(seed), np.empty(DRAWS)
    for draw in range(DRAWS):
        order = rng.permutation(len(near))
        best[draw] = (near[order[:count]].mean(axis=0) - near[order[count:]].mean(axis=0)).max()
    chance = float(np.quantile(best, LEVEL))
    order = np.argsort(-score, kind="stable")[:TOLD]
    return [Word(words[place], float(score[place]), float(score[place]) - chance) for place in order]
