"""Words for patches by a CLIP network of open_clip, where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from audit.concepts.patches import PatchReader, Target
from audit.concepts.words import PROMPT, Word, builtin_words, nearest_words
from audit.errors import ModelError
from audit.progress import Progress, silent, tracked
from audit.wording import shorten

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
    """

    words: tuple[str, ...]
    texts: NDArray[np.float32]
    see: Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]

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


def load_namer(name: str, words: Sequence[str], progress: Progress = silent) -> Namer:
    """A CLIP network by its name and weights, as `ViT-B-32:laion2b_s34b_b79k`.

    Raises:
        ModelError: no weights are named, open_clip is not installed, or does not have them.
    """
    architecture, _, weights = name.partition(":")
    if not weights:
        raise ModelError(f"Expected a CLIP network with its weights, as ViT-B-32:laion2b_s34b_b79k; got {name!r}")
    try:
        import open_clip
    except ImportError:
        raise ModelError("Expected open_clip to be installed, to name patches: `pip install open_clip_torch`") from None
    try:
        model, _, prepare = open_clip.create_model_and_transforms(architecture, pretrained=weights)
        tokenizer = open_clip.get_tokenizer(architecture)
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        raise ModelError(f"Cannot load the CLIP network {name}: {shorten(str(error), 200)}") from None
    model.eval()

    def unit(vectors: torch.Tensor) -> NDArray[np.float32]:
        made: NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=1).numpy()
        return made

    def see(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return unit(model.encode_image(torch.stack([prepare(Image.fromarray(each)) for each in pictures])))

    with torch.inference_mode():
        texts = [
            unit(model.encode_text(tokenizer([PROMPT.format(word)]))) for word in tracked(progress, "reading", words)
        ]
    return Namer(tuple(words), np.concatenate(texts), see)
