"""Perturbation: change the input, look at what the class's score does. No gradients.

With f the network, I an image [3, H, W] and 0 the mean grey of its preprocessing:

- Occlusion (Zeiler and Fergus, ECCV 2014): how far p(c) drops when a grey patch lies over a place.
- RISE (Petsiuk et al., BMVC 2018): masks drawn at random, averaged, each weighted by p(c) of the image seen through it.

One set of passes serves all targets of an image. Inputs are made a batch at a time: memory does not grow with their
number. What is drawn at random is drawn from a seed, the same for every image. Methods that perturb to weigh a layer's
channels are in `audit.attribution.methods.gradient_free`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from audit.attribution.method import Attribution, Choose, Cost, Method
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution

LEAST_BATCH = 16
"""Images a pass, where there are fewer in the batch."""


class Masked(Method):
    """Methods that look at an image through masks, the same ones for every image, and read probabilities p(c)."""

    @property
    @abstractmethod
    def mask_count(self) -> int:
        """N, the number of masks."""

    @abstractmethod
    def masks(self, which: Tensor, height: int, width: int) -> Tensor:
        """Masks [n, height, width] of these numbers below N: 1 where the image is seen, 0 where it is grey."""

    @abstractmethod
    def heat(self, probabilities: Tensor, whole: Tensor, height: int, width: int) -> Tensor:
        """p(c) under each mask [B, N, K] and of the whole image [B, K] -> maps [B, K, h, w]."""

    @property
    def compiles(self) -> bool:
        return True

    def cost(self, targets: int) -> Cost:
        return Cost(1 + self.mask_count, 0)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        """Explain the classes that `choose` picks from the logits of the whole image."""
        images = images.contiguous(memory_format=torch.channels_last)
        outputs = self.outputs(images)
        ids = choose(self.classifier.class_logits(outputs))
        height, width = images.shape[2:]
        parts = [
            read_scores(self._through(images, self.masks(which, height, width)), ids, self.classifier.probabilities)
            for which in parts_of(self.mask_count, len(images))
        ]
        whole = self.classifier.probabilities(outputs).gather(1, ids.clamp(min=0))
        return self._finish(self.heat(torch.cat(parts, dim=1), whole, height, width), ids, outputs)

    def _through(self, images: Tensor, masks: Tensor) -> Tensor:
        """Outputs [B, n, outputs] of images [B, 3, H, W] seen through masks [n, H, W]."""
        return outputs_through(self, images, masks[None])


class Occlusion(Masked):
    """Occlusion (Zeiler and Fergus, ECCV 2014, section 4.2): slide a grey patch, heat = drop of p(c).

    The grid's cells are as wide as the stride; the patch covers a whole number of them and never hangs over the edge.
    A cell's heat is the mean drop over the patches that cover it, as Captum's Occlusion has it for every pixel; the
    paper shows p(c) at the patch's centre instead. Negative where p(c) rises. Patches are filled with the mean colour,
    0 after normalisation.

    Args:
        patch: side of the patch, as a share of the input's; rounded to whole strides, at least one.
        stride: step between patches, as a share of the input's side; the grid has round(1 / stride) cells a side.

    Raises:
        ValueError: not 0 < stride <= patch <= 1, or a stride below one pixel.
    """

    name = "occlusion"
    description = "drop of the class probability under a sliding grey patch, averaged over the patches on a cell"
    paper = "Zeiler and Fergus, ECCV 2014"
    forward_passes = "1 + places of the patch (226 by default)"

    def __init__(
        self,
        classifier: Classifier,
        execution: Execution = PLAIN,
        *,
        patch: float = 1 / 8,
        stride: float = 1 / 16,
    ) -> None:
        super().__init__(classifier, execution)
        size = classifier.preprocessing.fit.size
        if not 0 < stride <= patch <= 1:
            raise ValueError(f"Expected 0 < stride <= patch <= 1, shares of the input; got {stride} and {patch}")
        if stride * size < 1 - 1e-6:
            raise ValueError(f"Expected a stride of at least one of the input's {size} pixels, 1/{size}; got {stride}")
        self._cells = round(1 / stride)
        self._span = min(max(round(patch * self._cells), 1), self._cells)

    @property
    def grid(self) -> tuple[int, int]:
        return self._cells, self._cells

    @property
    def mask_count(self) -> int:
        return self._places**2

    def masks(self, which: Tensor, height: int, width: int) -> Tensor:
        down, across = (1 - self._bands(_edges(self._cells, length), length) for length in (height, width))
        hidden = (1 - down[which // self._places])[:, :, None] * (1 - across[which % self._places])[:, None]
        return 1 - hidden

    def heat(self, probabilities: Tensor, whole: Tensor, height: int, width: int) -> Tensor:
        drops = (whole[:, None] - probabilities).view(len(whole), self._places, self._places, -1)
        covers = self._bands(torch.arange(self._cells + 1), self._cells)
        mean = (covers / covers.sum(dim=0)).to(drops.device)
        return torch.einsum("bpqk,ph,qw->bkhw", drops, mean, mean)

    @property
    def _places(self) -> int:
        """Places of the patch along a side."""
        return self._cells - self._span + 1

    def _bands(self, edges: Tensor, length: int) -> Tensor:
        """[places, length] 1 from each place's first edge to its last, 0 elsewhere."""
        at = torch.arange(length)
        first, last = edges[: self._places, None], edges[self._span :, None]
        return ((at >= first) & (at < last)).float()


class RISE(Masked):
    """RISE (Petsiuk et al., BMVC 2018, eq. 6): S = 1/(E[M] N) sum_i p(c | image through M_i) M_i, at every pixel.

    Masks as in section 3.2: a grid of cells, each seen with probability `keep`, enlarged bilinearly to one cell more
    than the input a side and cut out at a random shift below one cell. The cell is rounded up to whole pixels, as in
    the authors' code: the paper's rounding down leaves too little for some shifts. At the rim the enlarged grid is
    constant, where the authors' code mirrors it.

    Never negative for probabilities, and lifted by the mean p(c) everywhere: its order says more than its size. The
    paper takes 4000 to 8000 masks; with few the map is noisy.

    Args:
        masks: N.
        cells: of the grid, a side.
        keep: probability that a cell is seen; E[M].
        seed: of the masks, which depend on nothing else.

    Raises:
        ValueError: no masks, no cells or more than pixels, or `keep` not between 0 and 1.
    """

    name = "rise"
    description = "random masks averaged, weighted by the class probability of the image seen through each"
    paper = "Petsiuk et al., BMVC 2018"
    forward_passes = "1 + masks (501 by default)"
    pixels = True

    def __init__(
        self,
        classifier: Classifier,
        execution: Execution = PLAIN,
        *,
        masks: int = 500,
        cells: int = 7,
        keep: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(classifier, execution)
        if masks < 1:
            raise ValueError(f"Expected at least one mask, got masks = {masks}")
        if not 1 <= cells <= self._size:
            raise ValueError(f"Expected 1 to {self._size} cells, one pixel each, got cells = {cells}")
        if not 0 < keep <= 1:
            raise ValueError(f"Expected the share of cells kept above 0 and up to 1, got keep = {keep}")
        self._keep = keep
        generator = torch.Generator().manual_seed(seed)
        self._grids = (torch.rand(masks, cells, cells, generator=generator) < keep).float()
        self._shifts = torch.rand(masks, 2, generator=generator)

    @property
    def grid(self) -> tuple[int, int]:
        return self._size, self._size

    @property
    def mask_count(self) -> int:
        return len(self._grids)

    def masks(self, which: Tensor, height: int, width: int) -> Tensor:
        grids, cells = self._grids[which], self._grids.shape[1]
        tall, wide = -(-height // cells), -(-width // cells)
        large = (1 + cells) * tall, (1 + cells) * wide
        enlarged = F.interpolate(grids[:, None], large, mode="bilinear", align_corners=False)[:, 0]
        shifts = (self._shifts[which] * torch.tensor([tall, wide])).long().tolist()
        return torch.stack(
            [mask[top : top + height, left : left + width] for mask, (top, left) in zip(enlarged, shifts, strict=True)]
        )

    def heat(self, probabilities: Tensor, whole: Tensor, height: int, width: int) -> Tensor:
        maps = torch.zeros(*whole.shape, height, width, device=whole.device)
        for which in torch.split(torch.arange(self.mask_count), LEAST_BATCH):
            masks = self.masks(which, height, width).to(whole.device)
            maps += torch.einsum("bnk,nhw->bkhw", probabilities[:, which.to(whole.device)], masks)
        return maps / (self._keep * self.mask_count)

    @property
    def _size(self) -> int:
        return self.classifier.preprocessing.fit.size


def outputs_through(method: Method, images: Tensor, masks: Tensor) -> Tensor:
    """Outputs [B, n, outputs] of images [B, 3, H, W] times masks [B or 1, n, H, W]."""
    masked = (images[:, None] * masks.to(images.device)[:, :, None]).flatten(0, 1)
    outputs = method.outputs(masked.contiguous(memory_format=torch.channels_last))
    return outputs.view(len(images), -1, outputs.shape[1])


def parts_of(count: int, images: int) -> Sequence[Tensor]:
    """The numbers below `count` in parts that fill a batch when each is taken with every image."""
    return torch.split(torch.arange(count), max(LEAST_BATCH // images, 1))


def read_scores(outputs: Tensor, ids: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Scores [B, n, K] of the classes of each image, from outputs [B, n, outputs]."""
    scores = score(outputs.flatten(0, 1)).view(*outputs.shape[:2], -1)
    return scores.gather(2, ids.clamp(min=0)[:, None].expand(-1, outputs.shape[1], -1))


def _edges(cells: int, length: int) -> Tensor:
    """[cells + 1] pixels at which cells of nearly one width begin and end."""
    return (torch.arange(cells + 1) * length / cells).round().long()
