"""A network of images and texts, as the audit asks it: about words, or answers, of each image's own text.

A class is a word or a phrase. It is a target of the images that are labelled with it and whose text says it. Explained
is the sum of the network's values for its words: the log-probability of a phrase, given the image and the words before.

How sure of a phrase a network is must not depend on how long it is: of three words that are each as likely as not the
product is an eighth. So a target's probability is the geometric mean over its words, the inverse of their perplexity
(Jelinek et al. 1977; by length as Wu et al. 2016, section 7, rank captions). From 0.5 on, no word is less likely than
all others together, on average.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from audit.errors import ModelError
from audit.models.aimed.kind import Aimed, Asked

Span = tuple[int, ...]
"""Places of a target's words in its text."""


class TextAim(NamedTuple):
    """What a network is aimed at.

    Attributes:
        texts: of each image, or one for any number of images.
        spans: of each text, those of its targets; an empty one is none.
    """

    texts: Sequence[str]
    spans: Sequence[Sequence[Span]]


class WordNetwork(nn.Module):
    """A network of images and texts that gives, of the words at which it is aimed, the values.

    Until it is aimed, its aim is an example: all words of a text, together.

    Args:
        network: called with images [B, 3, H, W] and B texts, it gives values [B, W] of the words of each.
        example: a text.
    """

    def __init__(self, network: nn.Module, example: str) -> None:
        super().__init__()
        self.network = network
        self._aim = TextAim([example], [[tuple(range(len(self.words(example))))]])

    @property
    def slots(self) -> int:
        """Targets of a text, at most."""
        return max(map(len, self._aim.spans))

    def words(self, text: str) -> list[str]:
        """The words of a text, in the order of its values."""
        own = getattr(self.network, "words", None)
        return list(own(text)) if callable(own) else text.split()

    def forward(self, images: Tensor) -> Tensor:
        """Images [R, 3, H, W] -> [R, 2 K]: of each target the sum over its words, then the mean; 0 where there is none.

        The K of a batch are `slots`.
        """
        count = len(images)
        texts, spans = (
            list(part) if len(part) == count else list(part) * count for part in (self._aim.texts, self._aim.spans)
        )
        values = self.network(images, texts)
        chosen = values.new_zeros(count, self.slots, values.shape[1])
        for row, own in enumerate(spans):
            for place, span in enumerate(own):
                chosen[row, place, list(span)] = 1
        sums = torch.einsum("rkw,rw->rk", chosen, values)
        return torch.cat([sums, sums / chosen.sum(dim=2).clamp(min=1)], dim=1)

    @contextmanager
    def aimed(self, aim: TextAim) -> Iterator[None]:
        """Be aimed at words of texts, meanwhile."""
        before, self._aim = self._aim, aim
        try:
            yield
        finally:
            self._aim = before


@dataclass(frozen=True)
class WordClassifier(Aimed):
    """A network of images and texts with all that is needed to ask it about a data set's words."""

    role = "word"
    kind = "a network of images and texts"
    method = "gradcam"  # a word is of the whole image

    @property
    def outputs(self) -> int:
        return self.network.slots

    @property
    def network(self) -> WordNetwork:
        """The module."""
        assert isinstance(self.module, WordNetwork)
        return self.module

    def span(self, class_id: int, text: str) -> Span:
        """Where a class first occurs in a text; empty where it does not. Case and punctuation count for nothing.

        >>> from audit.models.aimed.words import spelt
        >>> spelt("A dog, asleep.".split())
        ['a', 'dog', 'asleep']
        """
        said, wanted = spelt(self.network.words(text)), spelt(self.classes[class_id].split())
        for start in range(len(said) - len(wanted) + 1):
            if said[start : start + len(wanted)] == wanted:
                return tuple(range(start, start + len(wanted)))
        return ()

    def aimed_at(self, asked: Sequence[Asked]) -> AbstractContextManager[None]:
        texts = [about.given for about in asked if isinstance(about.given, str)]
        if len(texts) < len(asked):
            raise ValueError("Expected the text of each image that a network is asked about again, got none")
        spans = [[self.span(about.class_id, text)] for about, text in zip(asked, texts, strict=True)]
        return self.network.aimed(TextAim(texts, spans))

    def surest(
        self, images: Tensor, class_id: int | None = None, texts: Sequence[str] | None = None
    ) -> list[Asked | None]:
        """Of each image the likeliest of the words that its text says; None where it says none, or there is no text."""
        if texts is None:
            return [None] * len(images)
        return [self._likeliest(images[place : place + 1], text, class_id) for place, text in enumerate(texts)]

    def _likeliest(self, image: Tensor, text: str, class_id: int | None) -> Asked | None:
        ids = range(len(self.classes)) if class_id is None else (class_id,)
        spans = {one: span for one in ids if (span := self.span(one, text))}
        if not spans:
            return None
        with torch.inference_mode(), self.network.aimed(TextAim([text], [list(spans.values())])):
            sure = self.probabilities(self.network(image))[0]
        return Asked(list(spans)[int(sure.argmax())], text)

    def places(self, asked: Sequence[Asked]) -> list[int]:
        return [0] * len(asked)

    def class_logits(self, outputs: Tensor) -> Tensor:
        """Values [B, K] of the phrases at which the network is aimed, of its outputs [B, 2 K]."""
        return outputs[:, : outputs.shape[1] // 2]

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Geometric means [B, K] of their words' probabilities, 1 at most."""
        return outputs[:, outputs.shape[1] // 2 :].exp().clamp(max=1)


def spelt(words: Sequence[str]) -> list[str]:
    """Words as they are compared: in lower case, without punctuation around them."""
    return [word.lower().strip(string.punctuation) for word in words]


def reads_texts(module: nn.Module) -> bool:
    """Whether a network takes texts beside images."""
    return "texts" in inspect.signature(module.forward).parameters


def check_values(network: WordNetwork, example: Tensor, model: str) -> None:
    """Refuse a network that does not give a value for every word.

    Raises:
        ModelError: so it is.
    """
    (text,) = network._aim.texts
    with torch.inference_mode():
        try:
            values: Any = network.network(example, [text])
        except Exception as error:  # it is anyone's code
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ModelError(f"{model} cannot take an image and a text: {reason}") from None
    wanted = (1, len(network.words(text)))
    if not isinstance(values, Tensor) or tuple(values.shape) != wanted:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ModelError(f"Expected {model} to give a value for each of {wanted[1]} words, {wanted}, got {got}")
