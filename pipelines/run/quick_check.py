"""The quick check of a shard: its suspects are asked again, without their background, before the shard is committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audit.attribution import Method
from audit.datasets import Readable
from audit.findings import Rules
from audit.findings.rules import misplacement
from audit.interventions.quick import Candidate, Candidates, without_background
from audit.interventions.removals import mask_at_input
from audit.interventions.tried import share_lost
from audit.models.device import HALVING, fetch
from audit.scores.faithfulness import Image
from audit.scores.scorer import Targets
from audit.store.layout import CHECKS
from audit.store.tables import Column, Rows

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
        mask: NDArray[np.int16],
        targets: Targets,
        probability: NDArray[np.floating],
        scores: Mapping[str, NDArray[Any]],
    ) -> None:
        """Take the targets of a sample that were named with confidence and whose object was found.

        Args:
            mask: [H, W] of the upright image.
            targets: K of them.
            probability: [K].
            scores: columns of the table `scores`, [K] each.
        """
        misplaced = misplacement(*(scores[name] for name in ("p_high", "energy", "attainable")))
        chosen = np.flatnonzero((scores["status"] == "scored") & (probability >= RULES.confident))
        if not len(chosen):
            return
        seen = mask_at_input(mask, image.view, len(image.pixels))
        for k in chosen.tolist():
            self._candidates.add(
                Candidate(
                    image.row,
                    int(targets.slots[k]),
                    int(targets.class_ids[k]),
                    float(probability[k]),
                    float(misplaced[k]),
                    image.pixels,
                    seen,
                )
            )

    def result(self) -> dict[str, Column]:
        """Columns of the table `checks`."""
        rows, asked = Rows(CHECKS), self._asked()
        while batch := list(islice(asked, self._batch_size)):
            candidates, images = zip(*batch, strict=True)
            for candidate, answer in zip(candidates, self._answers(images), strict=True):
                probability = candidate.probability
                lost = share_lost(probability - answer[candidate.class_id], probability)
                rows.add(sample=candidate.sample, slot=candidate.slot, reliance=float(lost))
        return rows.columns()

    def _asked(self) -> Iterator[tuple[Candidate, Image]]:
        """The chosen ones whose background can be taken away, each with its image without."""
        normalise = self._explain.classifier.preprocessing.normalise
        for candidate in self._candidates.chosen(self._most):
            image = np.ascontiguousarray(normalise(np.stack([candidate.pixels]))[0].numpy())
            rng = np.random.default_rng([candidate.sample, candidate.slot])
            changed = without_background(image, candidate.mask, candidate.class_id, rng)
            if changed is not None:
                yield candidate, changed

    def _answers(self, images: tuple[Image, ...]) -> NDArray[np.float32]:
        """Class probabilities [B, C]."""
        batch = torch.from_numpy(np.stack(images))

        def part(places: slice) -> NDArray[np.float32]:
            outputs = self._explain.outputs(batch[places])
            return fetch({"answers": self._explain.classifier.probabilities(outputs)})["answers"]

        return np.concatenate(HALVING(part, len(batch)))
