"""Images of a class climb to a high logit, channels are passed back by the rule of deconvnet, stages are told apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from audit.attribution.inside.visualise import Climb, channel_gradients, class_image, stage_activations
from audit.attribution.methods.backprop import Deconvnet, Saliency
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images import Fit
from audit.models import Classifier, Preprocessing

QUICK = Climb(steps=30)


def network(*more: nn.Module) -> Classifier:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 5, 3, 2, 1), nn.ReLU(), *more)
    module = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    return Classifier(module.eval(), Preprocessing(Fit(32)), ClassMapping(("a", "b"), ((0,), (1,))), "0")


def test_an_image_of_a_class_has_a_higher_logit_than_noise_and_lies_within_what_images_are() -> None:
    classifier = network()
    for class_id in (0, 1):
        image, logit = class_image(classifier, class_id, QUICK, seed=1)
        _, first = class_image(classifier, class_id, Climb(steps=1), seed=1)
        assert logit > first
        assert image.shape == (3, 32, 32)
        assert 0 <= image.min() <= image.max() <= 1
        normalised = classifier.preprocessing.normalise((image.permute(1, 2, 0)[None] * 255).round().to(torch.uint8))
        assert float(classifier.module(normalised)[0, class_id]) == pytest.approx(logit, abs=0.05)


def test_the_same_seed_gives_the_same_image_and_another_another() -> None:
    classifier = network()
    (first, _), (again, _), (other, _) = (class_image(classifier, 0, QUICK, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_blur_and_decay_leave_an_image_smoother_and_nearer_to_the_mean() -> None:
    classifier = network()
    plain, _ = class_image(classifier, 0, Climb(steps=30, jitter=0, decay=0, blur=0))
    smooth, _ = class_image(classifier, 0, Climb(steps=30, jitter=0, decay=0.1, blur=0.03, every=1))

    def roughness(image: Tensor) -> float:
        return float((image[:, 1:] - image[:, :-1]).abs().mean())

    assert roughness(smooth) < 0.7 * roughness(plain)


def test_a_channel_is_passed_back_from_where_it_is_strongest_by_the_methods_rule() -> None:
    classifier = network()
    torch.manual_seed(1)
    image = torch.randn(1, 3, 32, 32)
    with Saliency(classifier) as method:
        plain = channel_gradients(method, image, [3, 0])
    for slope, channel in zip(plain, (3, 0), strict=True):
        leaf = image.clone().requires_grad_()
        (expected,) = torch.autograd.grad(classifier.target_layer(leaf)[0, channel].max(), leaf)
        torch.testing.assert_close(slope, expected[0])
    with Deconvnet(classifier) as method:
        (deconvnet,) = channel_gradients(method, image, [3])
    first, second = classifier.target_layer[0], classifier.target_layer[2]
    held = classifier.target_layer(image)[0, 3]
    back = torch.zeros(1, 5, 8, 8)
    back.view(5, -1)[3, held.flatten().argmax()] = 1
    # By hand: through each convolution transposed, and what is positive through each ReLU.
    back = torch.nn.grad.conv2d_input((1, 6, 16, 16), second.weight, back, 2, 1).clamp(min=0)
    expected = torch.nn.grad.conv2d_input((1, 3, 32, 32), first.weight, back, 2, 1)
    torch.testing.assert_close(deconvnet, expected[0])


def test_stages_are_the_last_layers_of_each_grid_with_their_strongest_channels_first() -> None:
    classifier = network()
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    stages = stage_activations(classifier, image, most=4)
    assert [held.shape for held in stages.values()] == [(4, 16, 16), (4, 8, 8)]
    last = classifier.target_layer(image)[0]
    order = last.flatten(1).amax(dim=1).argsort(descending=True)[:4]
    torch.testing.assert_close(list(stages.values())[-1], last[order])


def test_what_cannot_be_climbed_is_refused() -> None:
    class Cut(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.detach()

    classifier = network(Cut())
    classifier.module[3].requires_grad_(False)
    with pytest.raises(ModelError, match="lets gradients through"):
        class_image(classifier, 0, QUICK)
    with pytest.raises(ValueError, match="`steps`"):
        Climb(steps=0)
    with pytest.raises(ValueError, match="`decay`"):
        Climb(decay=1.0)
