"""Methods on another device, without one: `meta` tensors have a place but no numbers, so nothing can be read back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import vit_oracle
from one_device import OneDevice
from torch import nn

from audit.attribution import METHODS, make_method
from audit.datasets.classes import ClassMapping
from audit.images import Fit
from audit.models.classifier import Classifier, Preprocessing

SIZE, CLASSES = 32, 5
HEADS: dict[str, Callable[[], list[nn.Module]]] = {
    "linear": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)],
    "pooled": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Tanh(), nn.Linear(16, CLASSES)],
    "general": lambda: [nn.Flatten(), nn.Linear(16 * 16, CLASSES)],
}


def classifier(head: str) -> Classifier:
    """A small network with ReLUs and a head of the kind; a class with two outputs and one with none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()),
            *HEADS[head](),
        ).eval()
    mapping = ClassMapping(("a", "b", "c"), ((0, 3), (), (1,)))
    return Classifier(module, Preprocessing(Fit(SIZE)), mapping, "2")


OPTIONS = {"rise": {"masks": 5}, "integrated_gradients": {"steps": 3}}
AROUND = ("smoothgrad:gradcam", "multiscale:gradcam", "flip:gradcam", "aligned:gradcam")


OF_TRANSFORMERS = ("legrad", "gradient-rollout", "attnlrp")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", [name for name in (*METHODS, *AROUND) if name not in OF_TRANSFORMERS])
def test_a_method_stays_on_its_device_and_reads_nothing_back(name: str, head: str) -> None:
    if name == "cam" and head != "linear":
        pytest.skip("CAM takes a linear head alone")
    if name == "multiscale:gradcam" and head == "general":
        pytest.skip("a head that flattens takes inputs of one size")
    with make_method(name, classifier(head), options=OPTIONS.get(name)) as explain:
        getattr(explain, "_trunk_runs_alone", None)  # asked once, before all batches
        explain.classifier.module.to("meta")
        with OneDevice():
            found = explain.attribute(torch.zeros(2, 3, SIZE, SIZE), lambda _logits: torch.tensor([[0, 2], [2, -1]]))
    for part in (found.maps, found.class_ids, found.logits, found.probabilities, *(found.weighted or ())):
        assert part.device.type == "meta"
    assert found.maps.shape == (2, 2, *explain.grid)


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_a_method_for_transformers_stays_on_its_device_too(name: str) -> None:
    mapping = ClassMapping(("a", "b", "c"), ((0, 3), (), (1,)))
    side = vit_oracle.SIDE
    vit = Classifier(vit_oracle.build(), Preprocessing(Fit(side)), mapping, "encoder.ln")
    with make_method(name, vit) as explain:
        explain.classifier.module.to("meta")
        with OneDevice():
            found = explain.attribute(torch.zeros(2, 3, side, side), lambda _logits: torch.tensor([[0, 2], [2, -1]]))
    assert {part.device.type for part in (found.maps, found.class_ids, found.logits)} == {"meta"}
    assert found.maps.shape == (2, 2, *explain.grid)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda there, here: there @ here,
        lambda there, here: torch.einsum("ab,bc->ac", there, here),
        lambda there, here: there.gather(1, here.long()),
        lambda there, here: there[here.long()],
        lambda there, here: torch.nn.functional.linear(there, here),
    ],
)
def test_the_watch_sees_what_meta_tensors_alone_let_pass(mixed: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
    there, here = torch.zeros(3, 3, device="meta"), torch.zeros(3, 3)
    mixed(there, here)
    with OneDevice():
        mixed(here, here)
        (there + here.to("meta")) * torch.tensor(2.0)
        with pytest.raises(AssertionError, match="on cpu and meta"):
            mixed(there, here)
