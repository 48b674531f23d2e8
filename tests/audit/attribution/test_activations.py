"""Activations of several layers, from one pass."""

from __future__ import annotations

import pytest
import torch
from test_compositions import SIZE, StagedNet, staged
from torch import nn

from audit.attribution.inside.activations import Activations
from audit.errors import ModelError


def test_layers_are_what_the_network_gives_there_from_fine_to_coarse() -> None:
    classifier = staged()
    module = classifier.module
    assert isinstance(module, StagedNet)
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        first = module.first(images)
        second = module.second(first)
        third = module.features(second)
    activations = Activations(classifier, ["features", "first", "second"])
    assert activations.layers == ("first", "second", "features")
    for layer, expected in zip(activations(images), (first, second, third), strict=True):
        torch.testing.assert_close(layer, expected)


def test_the_last_layers_of_each_grid_size_are_taken_unless_others_are_named() -> None:
    assert Activations(staged()).layers == ("first", "second", "features")


def test_images_may_have_their_own_shape() -> None:
    shapes = [tuple(layer.shape) for layer in Activations(staged())(torch.randn(1, 3, 24, 40))]
    assert shapes == [(1, 4, 24, 40), (1, 5, 12, 20), (1, 6, 6, 10)]


def test_the_network_is_left_as_it_came() -> None:
    classifier = staged()
    classifier.module.train()
    Activations(classifier)(torch.randn(1, 3, SIZE, SIZE))
    assert classifier.module.training
    assert not any(part._forward_hooks for part in classifier.module.modules())


def test_a_layer_without_a_grid_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^Expected layers with a grid, but 'head' has none; known are first.*$"):
        Activations(staged(), ["head"])
    assert isinstance(staged().module.head, nn.Sequential)
