"""The quick check of a shard: its suspects are asked again, without their background, before the shard is committed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Method
from audit.attribution.taps import ONE_AT_A_TIME
from audit.datasets import Readable
from audit.findings.evidence.asked_anyway import asked_anyway
from audit.images import batches
from audit.interventions.quick import RULES, Candidate, Candidates, Suspect, without_background
from audit.interventions.tried import share_lost
from audit.models.aimed.asking import answers
from audit.models.aimed.kind import Asked, Given
from audit.models.device import HALVING, fetch
from audit.scores.faithfulness import Image
from audit.store.layout import CHECKS
from audit.store.tables.parts import Column, Rows, in_order


class QuickCheck:
    """Gathers a shard's targets that may be asked, sample after sample, and asks the network at the end.

    Args:
        most: targets that are asked about, unless more are flagged; see `Candidates.chosen`.
        samples: of the run. What a network gave itself is asked about as `asked_anyway` says, beside these.
    """

    def __init__(self, explain: Method, batch_size: int, most: int, samples: int) -> None:
        self._explain, self._batch_size, self._most, self._samples = explain, batch_size, most, samples
        self._candidates = Candidates(RULES.misplaced)
        self._anyway: list[Candidate] = []
        self._rows = Rows(CHECKS)

    def add(self, image: Readable, suspect: Suspect, asked: Given | None = None) -> None:
        """Take a target of an image.

        Args:
            asked: what the network is asked again by about what it gave itself; None of a classifier.
        """
        row, slot, class_id, probability, misplaced, mask, object_id = suspect
        given = self._explain.classifier.preprocessing.fit.given(*image.size)
        candidate = Candidate(row, slot, class_id, probability, misplaced, image.pixels, mask, given, object_id, asked)
        gave_it = asked is not None and not isinstance(asked, str)  # a text was not the network's
        if gave_it and slot == 0 and asked_anyway(row, self._samples):
            self._ask_anyway(candidate)
        else:
            self._candidates.add(candidate)

    def result(self) -> dict[str, Column]:
        """Columns of the table `checks`, in the order of samples and slots."""
        self._ask([*self._anyway, *self._candidates.chosen(self._most)])
        self._anyway = []
        return in_order(in_order(self._rows.columns(), "slot"), "sample")

    def _ask_anyway(self, candidate: Candidate) -> None:
        """In batches, for pixels of all of them would be much to keep."""
        self._anyway.append(candidate)
        if len(self._anyway) >= self._batch_size:
            self._ask(self._anyway)
            self._anyway = []

    def _ask(self, candidates: Sequence[Candidate]) -> None:
        for batch in batches(self._changed(candidates), self._batch_size, lambda pair: pair[0].given):
            asked, images = zip(*batch, strict=True)
            for candidate, answer in zip(asked, self._answers(asked, images), strict=True):
                lost = share_lost(candidate.probability - answer, candidate.probability)
                self._rows.add(sample=candidate.sample, slot=candidate.slot, reliance=float(lost))

    def _changed(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Image]]:
        """Those whose background can be taken away, each with its image without."""
        normalise = self._explain.classifier.preprocessing.normalise
        for candidate in candidates:
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
            with ONE_AT_A_TIME:  # what the network is aimed at is seen by all threads
                return fetch({"answers": answers(classifier, self._explain.outputs, batch[places], asked)})["answers"]

        return np.concatenate(HALVING(part, len(batch)))
