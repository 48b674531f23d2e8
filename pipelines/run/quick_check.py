"""The quick check of a shard: its suspects are asked again, without their background, before the shard is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Method
from audit.datasets import Readable
from audit.findings import Rules
from audit.findings.rules import misplacement
from audit.images import batches
from audit.interventions.quick import Candidate, Candidates, without_background
from audit.interventions.removals import mask_at_input
from audit.interventions.tried import share_lost
from audit.models.aimed.asking import answers
from audit.models.aimed.kind import Asked, Given
from audit.models.device import HALVING, fetch
from audit.scores.faithfulness import Image
from audit.scores.scorer import Explained, Part
from audit.store.layout import CHECKS
from audit.store.tables.parts import Column, Rows

RULES = Rules()
"""A run is asked by the rules as they come: others may be tried on it later, with `camaudit flag`."""


SHARE = 0.1
"""Of a shard's samples, up to which flagged targets and others are asked about in a large run."""
LARGE = 2048
"""Samples from which a run is large."""


class QuickCheck:
    """Gathers a shard's targets that may be asked, sample after sample, and asks the network at the end.

    Args:
        most: targets that are asked about, unless more are flagged; see `Candidates.chosen`.
    """

    def __init__(self, explain: Method, batch_size: int, most: int) -> None:
        self._explain, self._batch_size, self._most = explain, batch_size, most
        self._candidates = Candidates(RULES.misplaced)

    def add(
        self,
        image: Readable,
        sample: Explained,
        probability: NDArray[np.floating],
        scores: Mapping[str, NDArray[Any]],
        asked: Callable[[int], Given] | None = None,
    ) -> None:
        """Take the targets of a sample that were named with confidence and whose object was found.

        Args:
            sample: with K targets.
            probability: [K].
            scores: columns of the table `scores`, [K] each.
            asked: what the network is asked about the target of a slot again by, where that is what it gave itself.
        """
        misplaced = misplacement(*(scores[name] for name in ("p_high", "energy", "attainable")))
        chosen = (scores["status"] == "scored") & (probability >= RULES.confident)
        given = self._explain.classifier.preprocessing.fit.given(*image.size)
        start = 0
        for part in sample.parts():
            stop = start + len(part.targets.slots)
            own = np.flatnonzero(chosen[start:stop])
            if len(own) and part.objects.mask is not None:
                seen = mask_at_input(part.objects.mask, image.view, len(image.pixels))
                for k in own.tolist():
                    numbers = float(probability[start + k]), float(misplaced[start + k])
                    self._candidates.add(_candidate(image, part, k, seen, given, numbers, asked))
            start = stop

    def result(self) -> dict[str, Column]:
        """Columns of the table `checks`."""
        rows, asked = Rows(CHECKS), self._asked()
        for batch in batches(asked, self._batch_size, lambda pair: pair[0].given):
            candidates, images = zip(*batch, strict=True)
            for candidate, answer in zip(candidates, self._answers(candidates, images), strict=True):
                probability = candidate.probability
                lost = share_lost(probability - answer, probability)
                rows.add(sample=candidate.sample, slot=candidate.slot, reliance=float(lost))
        return rows.columns()

    def _asked(self) -> Iterator[tuple[Candidate, Image]]:
        """The chosen ones whose background can be taken away, each with its image without."""
        normalise = self._explain.classifier.preprocessing.normalise
        for candidate in self._candidates.chosen(self._most):
            image = np.ascontiguousarray(normalise(np.stack([candidate.pixels]))[0].numpy())
            rng = np.random.default_rng([candidate.sample, candidate.slot])
            changed = without_background(image, candidate.mask, candidate.object_id, rng)
            if changed is not None:
                yield candidate, changed

    def _answers(self, candidates: Sequence[Candidate], images: Sequence[Image]) -> NDArray[np.float32]:
        """[B] what the network gives each candidate now, its class or box; all are given the same part of them."""
        (tall, wide), classifier = candidates[0].given, self._explain.classifier
        batch = torch.from_numpy(np.stack(images))[:, :, :tall, :wide]

        def part(places: slice) -> NDArray[np.float32]:
            asked = [Asked(candidate.class_id, candidate.asked) for candidate in candidates[places]]
            return fetch({"answers": answers(classifier, self._explain.outputs, batch[places], asked)})["answers"]

        return np.concatenate(HALVING(part, len(batch)))


def _candidate(
    image: Readable,
    part: Part,
    place: int,
    seen: NDArray[np.int16],
    given: tuple[int, int],
    numbers: tuple[float, float],
    asked: Callable[[int], Given] | None,
) -> Candidate:
    slot, class_id = int(part.targets.slots[place]), int(part.targets.class_ids[place])
    again = None if asked is None else asked(slot)
    return Candidate(image.row, slot, class_id, *numbers, image.pixels, seen, given, int(part.object_ids[place]), again)
