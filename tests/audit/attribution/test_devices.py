"""Methods on another device, without one: it refuses tensors of both and counts what is read back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import vit_oracle
from second_device import THERE, SecondDevice
from torch import nn

from audit.attribution import METHODS, Attribution, make_method
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


def assert_same_there(name: str, made: Callable[[], Classifier], side: int) -> None:
    """What a method gives on the second device is what it gives on the CPU, and nothing is read back for it."""
    images = torch.rand(2, 3, side, side)
    choose = lambda _logits: torch.tensor([[0, 2], [2, -1]])  # noqa: E731
    with make_method(name, made(), options=OPTIONS.get(name)) as explain:
        expected = explain.attribute(images, choose)
    with make_method(name, made(), options=OPTIONS.get(name)) as explain:
        getattr(explain, "_trunk_runs_alone", None)  # asked once, before all batches
        with SecondDevice() as device:
            explain.classifier.module.to(THERE)
            found = explain.attribute(images, choose)
            assert device.reads == []
            for there, here in zip(tensors_of(found), tensors_of(expected), strict=True):
                assert there.device == THERE
                torch.testing.assert_close(there.cpu(), here, equal_nan=True)


def tensors_of(found: Attribution) -> list[torch.Tensor]:
    return [found.maps, found.class_ids, found.logits, found.probabilities, *(found.weighted or ())]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", [name for name in (*METHODS, *AROUND) if name not in OF_TRANSFORMERS])
def test_a_method_stays_on_its_device_and_reads_nothing_back(name: str, head: str) -> None:
    if name == "cam" and head != "linear":
        pytest.skip("CAM takes a linear head alone")
    if name == "multiscale:gradcam" and head == "general":
        pytest.skip("a head that flattens takes inputs of one size")
    assert_same_there(name, lambda: classifier(head), SIZE)


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_a_method_for_transformers_stays_on_its_device_too(name: str) -> None:
    mapping = ClassMapping(("a", "b", "c"), ((0, 3), (), (1,)))
    side = vit_oracle.SIDE
    assert_same_there(
        name, lambda: Classifier(vit_oracle.build(), Preprocessing(Fit(side)), mapping, "encoder.ln"), side
    )


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
def test_the_second_device_refuses_tensors_of_both(mixed: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
    here = torch.zeros(3, 3)
    with SecondDevice():
        there = here.to(THERE)
        mixed(here, here)
        mixed(there, there)
        with pytest.raises(AssertionError, match="on both devices"):
            mixed(there, here)


def test_the_second_device_computes_and_counts_what_is_read_back() -> None:
    with SecondDevice() as device:
        there = (torch.arange(4.0).to(THERE) + torch.tensor(2.0)) * torch.tensor([1, 0, 1, 1], device=THERE)
        assert there.device == THERE
        there[[0, 3]] = 7
        assert device.reads == []
        assert there.cpu().tolist() == [7, 0, 4, 7]
        assert float(there.sum()) == 18
        assert there.nonzero()[:, 0].tolist() == [0, 2, 3]
        with pytest.raises((TypeError, RuntimeError)):
            there.numpy()
    assert device.reads == ["aten._to_copy", "aten._local_scalar_dense", "aten.nonzero", "tolist"]
