"""Words for patches by a CLIP network, as the source `clip:` gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from audit.concepts.patches import PatchReader, Target
from audit.concepts.words import PROMPT, Word, builtin_words, nearest_words
from audit.errors import ModelError
from audit.models import load_classifier
from audit.models.sources.open_clip import ZeroShot

OTHERS = 6
"""Other parts of each image, at random places."""
_TILE = 224


@dataclass(frozen=True)
class Namer:
    """Names patches by the nearest of a list of words.

    Attributes:
        words: the list.
        texts: [m, D] of them, at unit length.
        see: from pictures [n, t, t, 3] to [n, D] at unit length.
        source: the network's name.
    """

    words: tuple[str, ...]
    texts: NDArray[np.float32]
    see: Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]
    source: str = ""

    def name(self, reader: PatchReader, targets: Sequence[Target], seed: int = 0) -> list[Word]:
        """The nearest words of the patches of some targets; none where no image can be read."""
        height, width = reader.run.record["grid"]
        rng = np.random.default_rng(seed)
        elsewhere = [
            (sample, slot, int(cell))
            for sample, slot, own in targets
            for cell in rng.permutation(np.setdiff1d(np.arange(height * width), [own]))[:OTHERS]
        ]
        patches, others = (reader.patches(part, _TILE) for part in (targets, elsewhere))
        if not patches or not others:
            return []
        return nearest_words(self.words, self.texts, self.see(patches), self.see(others), seed)


def words_of(source: str) -> tuple[str, ...]:
    """The words of a file, one a line; or the built-in ones, of `builtin`.

    Raises:
        ModelError: there is no such file, or nothing in it.
    """
    if source == "builtin":
        return builtin_words()
    path = Path(source)
    if not path.is_file():
        raise ModelError(f"Expected a file of words, one a line, or builtin; got {source!r}")
    words = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not words:
        raise ModelError(f"Expected words in {path}, one a line, found none")
    return words


def load_namer(name: str, words: Sequence[str]) -> Namer:
    """A CLIP network as `clip:` takes it, by its name and weights: `ViT-B-32:laion2b_s34b_b79k`, or a folder.

    Raises:
        ModelError: open_clip is not installed, or has no such network, or not these weights.
    """
    model, _, weights = name.partition(":")
    classifier = load_classifier(f"clip:{model}", weights or None, classes=words, prompts=(PROMPT,))
    module, prepared = classifier.module, classifier.preprocessing
    assert isinstance(module, ZeroShot)

    def see(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        fitted = np.stack([prepared.fit(picture)[0] for picture in pictures])
        with torch.inference_mode():
            return _unit(module.embedded(prepared.normalise(fitted)))

    return Namer(tuple(words), _unit(module.words.get_buffer("rows")), see, name)


def _unit(vectors: torch.Tensor) -> NDArray[np.float32]:
    made: NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()
    return made
