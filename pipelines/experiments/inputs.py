"""A finished run's images as the network took them, and the network's answer to changed ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.datasets import Sample, Unreadable, decode_sample
from audit.errors import ImageError
from audit.images import View
from audit.models import Classifier
from audit.models.aimed.asking import answers
from audit.models.aimed.kind import Asked
from audit.models.device import HALVING
from audit.scores.faithfulness import Image
from audit.scores.given.registry import given_for
from audit.store import Run, Shard


@dataclass(frozen=True)
class Input:
    """A sample as the network takes it.

    Attributes:
        image: [3, size, size] normalised.
        size: (height, width) of the upright image.
        view: what the network saw of it.
        given: rows and columns of the image, from the top left, that the network is given.
        mask_kind: of the manifest's masks.
    """

    sample: Sample
    image: Image
    size: tuple[int, int]
    view: View
    mask_kind: str
    given: tuple[int, int]


def read_input(run: Run, classifier: Classifier, row: int, digest: str) -> Input:
    """The sample at a row of the manifest.

    Args:
        digest: of the file that the run saw.

    Raises:
        ImageError: it cannot be read, or is another than the run saw.
    """
    manifest = run.manifest(row, row + 1)
    (sample,) = manifest
    decoded = decode_sample(row, sample, classifier.preprocessing.fit, run.record["config"]["max_pixels"])
    if isinstance(decoded, Unreadable):
        raise ImageError(decoded.reason)
    if decoded.digest != digest:
        raise ImageError(f"{sample.image} is not the file that the run saw")
    image = np.ascontiguousarray(classifier.preprocessing.normalise(np.stack([decoded.pixels]))[0].numpy())
    given = classifier.preprocessing.fit.given(*decoded.size)
    return Input(sample, image, decoded.size, decoded.view, manifest.mask_kind, given)


def read_targets(run: Run, shard: Shard, rows: NDArray[np.intp]) -> Iterator[dict[str, Any]]:
    """Targets at some rows of a shard's table: sample, slot and class, with the id and digest of their samples."""
    if not len(rows):
        return
    samples = run.read("samples", shard, ["id", "digest"]).to_pylist()
    for target in run.read("targets", shard, ["sample", "slot", "class_id"]).take(rows).to_pylist():
        yield {**target, **samples[target["sample"] - shard.start]}


def asked_of(run: Run, target: Mapping[str, Any]) -> Asked:
    """What the run's model is asked again about a target."""
    return Asked(target["class_id"], given_for(run, target["sample"], target["slot"]))


def class_probabilities(
    classifier: Classifier, inputs: Iterable[Image], given: tuple[int, int], asked: Asked, batch_size: int
) -> NDArray[np.float64]:
    """p(c) [n] of each input, of the rows and columns given to the network, a batch at a time."""
    read, rest = [np.empty(0)], iter(inputs)
    while batch := list(islice(rest, batch_size)):
        part = torch.from_numpy(np.stack(batch))[:, :, : given[0], : given[1]]
        read += HALVING(partial(_probabilities, classifier, part, asked), len(batch))
    return np.concatenate(read)


def _probabilities(classifier: Classifier, images: Tensor, asked: Asked, places: slice) -> NDArray[np.float64]:
    """p(c) [n] of some of the images [B, 3, H, W]."""
    sent = images[places].to(classifier.device, memory_format=torch.channels_last)
    with torch.inference_mode():
        return answers(classifier, classifier.module, sent, [asked] * len(sent)).double().cpu().numpy()
