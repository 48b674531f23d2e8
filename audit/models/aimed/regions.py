"""A network that segments, as the audit asks it: about regions that it gave, on this image or a changed one.

The region of a class is where its category has the highest logit. Explained is the mean of the class's logit over it.
Seg-Grad-CAM (Vinogradova, Dibrov and Myers, AAAI 2020) takes the sum, whose map is the same up to a factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.models.aimed.kind import Aimed, Asked
from audit.models.layers import find_grids

LEAST = 1e-3
"""Share of the network's output below which a region is no target."""


class RegionNetwork(nn.Module):
    """A network that gives, of the regions at which it is aimed, each class's mean logit and mean probability.

    Until it is aimed, its aim are the regions that it gives itself.

    Args:
        network: from images to logits [B, categories, h, w], alone or under `out` as torchvision's.
    """

    def __init__(self, network: nn.Module, mapping: ClassMapping, categories: int) -> None:
        super().__init__()
        self.network = network
        self._mapping = mapping
        owner = torch.full((categories,), -1)
        for class_id, outputs in enumerate(mapping.outputs):
            owner[list(outputs)] = class_id
        longest = max(map(len, mapping.outputs))
        members = [[*outputs, *[0] * (longest - len(outputs))] for outputs in mapping.outputs]
        missing = [[0.0] * len(outputs) + [-torch.inf] * (longest - len(outputs)) for outputs in mapping.outputs]
        for name, table in (("owner", owner), ("members", members), ("membership", missing)):
            self.register_buffer(f"_{name}", torch.as_tensor(table), persistent=False)
        self._aim: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Images [R, 3, H, W] -> [R, 2 C]: mean logits of the C classes over their regions, then probabilities.

        A class without a region has zeros.
        """
        logits = logits_of(self.network(images)).float()
        labels = self._labels(logits) if self._aim is None else self._aim.to(images.device).expand(len(images), -1, -1)
        places = labels.clamp(min=0).flatten(1)
        own = self._own(logits.flatten(2), places)
        sure = (own - logits.flatten(2).logsumexp(dim=1)).exp()
        seen = (labels >= 0).flatten(1).to(own.dtype)
        count = self._sums(seen, places).clamp(min=1)
        return torch.cat([self._sums(part * seen, places) / count for part in (own, sure)], dim=1)

    def segment(self, images: Tensor) -> Tensor:
        """Class id of each pixel [B, h, w] of the output; -1 where a category is highest that is no class's."""
        with torch.inference_mode():
            return self._labels(logits_of(self.network(images)).float())

    @contextmanager
    def aimed(self, labels: Tensor) -> Iterator[None]:
        """Be aimed at regions [R, h, w], or [1, h, w] for any number of images, meanwhile."""
        before, self._aim = self._aim, labels
        try:
            yield
        finally:
            self._aim = before

    def _labels(self, logits: Tensor) -> Tensor:
        owner: Any = self._owner
        labels: Tensor = owner[logits.detach().argmax(dim=1)]
        return labels

    def _own(self, logits: Tensor, places: Tensor) -> Tensor:
        """Logits [R, categories, P] -> [R, P] of the class at each place, the logsumexp of its categories'."""
        members, membership = self._members, self._membership
        columns: Tensor = members[places].mT  # type: ignore[index]
        return torch.logsumexp(logits.gather(1, columns) + membership[places].mT, dim=1)  # type: ignore[index]

    def _sums(self, values: Tensor, places: Tensor) -> Tensor:
        """[R, C] sums of values [R, P] by class."""
        return values.new_zeros(len(values), len(self._mapping.outputs)).scatter_add(1, places, values)


@dataclass(frozen=True)
class RegionClassifier(Aimed):
    """A network that segments with all that is needed to ask it about a data set's classes, each by its region."""

    role = "segmented"
    kind = "a network that segments"

    @property
    def outputs(self) -> int:
        return len(self.classes)

    @property
    def network(self) -> RegionNetwork:
        """The module."""
        assert isinstance(self.module, RegionNetwork)
        return self.module

    def aimed_at(self, asked: Sequence[Asked]) -> AbstractContextManager[None]:
        if any(about.given is None for about in asked):
            raise ValueError("Expected the regions of each image that a network is asked about again, got none")
        labels = [torch.as_tensor(about.given, dtype=torch.long) for about in asked]
        return self.network.aimed(torch.stack(labels).to(self.device))

    def surest(
        self, images: Tensor, class_id: int | None = None, texts: Sequence[str] | None = None
    ) -> list[Asked | None]:
        found: list[Asked | None] = []
        for labels in self.network.segment(images):
            wanted = labels if class_id is None else torch.where(labels == class_id, labels, -1)
            place = int(largest(wanted[None], 1))
            found.append(None if place < 0 else Asked(place, labels.cpu().numpy()))
        return found

    def places(self, asked: Sequence[Asked]) -> list[int]:
        return [about.class_id for about in asked]

    def class_logits(self, outputs: Tensor) -> Tensor:
        """Outputs [B, 2 C] -> mean logits [B, C] over regions."""
        return outputs[:, : len(self.classes)]

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Outputs [B, 2 C] -> mean probabilities [B, C] over regions."""
        return outputs[:, len(self.classes) :]


def largest(labels: Tensor, slots: int) -> Tensor:
    """Class ids [B, slots] of the largest regions in labels [B, h, w], by falling size; -1 where there are no more.

    >>> largest(torch.tensor([[[0, 2, 2], [-1, 2, -1]]]), 3).tolist()
    [[2, 0, -1]]
    """
    flat = labels.flatten(1)
    most = max(int(labels.max()) + 1, 1)
    counts = torch.zeros(len(flat), most + 1, dtype=torch.long, device=flat.device)
    counts.scatter_add_(1, torch.where(flat < 0, most, flat), torch.ones_like(flat))
    sizes, ids = counts[:, :most].sort(dim=1, descending=True, stable=True)
    ids = torch.where(sizes >= max(LEAST * flat.shape[1], 1), ids, -1)[:, :slots]
    return torch.nn.functional.pad(ids, (0, slots - ids.shape[1]), value=-1)


def logits_of(output: Any) -> Tensor:
    """Logits [B, categories, h, w] of what a network that segments gives.

    Raises:
        ModelError: there are none.
    """
    logits = output.get("out") if isinstance(output, Mapping) else output
    if not segments(logits):
        raise ModelError(f"Expected logits [B, categories, h, w], got {type(output).__name__}")
    found: Any = logits
    return found  # type: ignore[no-any-return]


def segments(output: Any) -> bool:
    """Whether a network's output is a logit for every category and place."""
    logits = output.get("out") if isinstance(output, Mapping) else output
    return isinstance(logits, Tensor) and logits.ndim == 4 and min(logits.shape[2:]) > 1


def find_region_layer(module: nn.Module, example: Tensor, categories: int) -> str:
    """Name of the layer to explain by default: of the coarsest grid the last, in the backbone where there is one.

    Behind it nothing is looked at from afar, so that heat would not leave the region.

    Raises:
        ModelError: no module has a grid.
    """
    grids = {name: grid for name, grid in find_grids(module, example).items() if grid.channels != categories}
    inside = {name: grid for name, grid in grids.items() if "backbone" in name.split(".")[:-1]} or grids
    if not inside:
        raise ModelError("Expected a module with a spatial output [B, C, h, w], found none; name one with --layer")
    coarsest = min(grid.side for grid in inside.values())
    return [name for name, grid in inside.items() if grid.side == coarsest][-1]
