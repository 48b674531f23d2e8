"""Which channels a map's heat comes from, and how much of the input a cell goes by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit.attribution.inside.receptive import NARROWEST, WIDEST, receptive_side, side_holding
from audit.datasets.classes import ClassMapping
from audit.images import Fit
from audit.models import Classifier, Preprocessing
from audit.scores.channels import NONE, leading_channels
from audit.scores.features import relevance_by_channel


@pytest.mark.parametrize("grid", [(3, 4), (1, 1)])
def test_leading_channels_are_those_of_the_largest_positive_sums_and_the_cell_that_adds_most(
    grid: tuple[int, int],
) -> None:
    rng = np.random.default_rng(3)
    part, weights, activation = rng.random((2, 3, 4)), rng.standard_normal((2, 9, *grid)), rng.random((9, 3, 4))
    relevance = relevance_by_channel(part, weights, activation)
    leading = leading_channels(relevance, part, weights, activation, 3)
    for target in range(2):
        terms = np.zeros((9, 3, 4))
        for channel, y, x in np.ndindex(9, 3, 4):
            weight = weights[target, channel, y % grid[0], x % grid[1]]
            terms[channel, y, x] = part[target, y, x] * weight * activation[channel, y, x]
        sums = terms.sum(axis=(1, 2))
        order = sorted(range(9), key=lambda channel: -sums[channel])[:3]
        assert leading.channel[target].tolist() == order
        np.testing.assert_allclose(leading.share[target], sums[order] / sums[sums > 0].sum(), rtol=1e-5)
        assert leading.cell[target].tolist() == [int(terms[channel].argmax()) for channel in order]


def test_channels_that_speak_against_the_class_or_are_missing_leave_their_places_empty() -> None:
    weights = np.array([[1.0, -1.0, 3.0]])[:, :, None, None]
    part, activation = np.ones((1, 2, 2)), np.ones((3, 2, 2))
    leading = leading_channels(relevance_by_channel(part, weights, activation), part, weights, activation, 4)
    assert leading.channel.tolist() == [[2, 0, NONE, NONE]]
    assert leading.share.tolist() == [[0.75, 0.25, 0, 0]]


def test_a_part_without_heat_and_one_that_is_not_finite_have_no_channels() -> None:
    part, weights, activation = np.zeros((1, 2, 2)), np.ones((1, 3, 1, 1)), np.ones((3, 2, 2))
    for relevance in (np.zeros((1, 3)), np.full((1, 3), np.nan)):
        leading = leading_channels(relevance, part, weights, activation, 2)
        assert leading.channel.tolist() == [[NONE, NONE]]
        assert leading.share.tolist() == [[0, 0]]


def test_the_side_that_holds_a_share_is_the_smallest_square_about_the_middle_of_mass() -> None:
    rng = np.random.default_rng(0)
    magnitude = np.zeros((21, 21))
    magnitude[6:17, 4:15] = rng.random((11, 11)) * np.hanning(11)[:, None] * np.hanning(11)
    y, x = (np.arange(21) @ magnitude.sum(axis=axis) / magnitude.sum() for axis in (1, 0))
    for share in (0.2, 0.5, 0.9):
        reach = next(
            reach
            for reach in range(21)
            if sum(
                magnitude[i, j]
                for i, j in np.ndindex(21, 21)
                if abs(i - round(y)) <= reach and abs(j - round(x)) <= reach
            )
            >= share * magnitude.sum()
        )
        assert side_holding(magnitude, share) == 2 * reach + 1


def of_network(*layers: nn.Module, size: int = 48) -> Classifier:
    """A network with these layers before the pooling, its target layer the last of them."""
    torch.manual_seed(0)
    channels = [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)][-1]
    module = nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))
    return Classifier(module.eval(), Preprocessing(Fit(size)), ClassMapping(("a", "b"), ((0,), (1,))), "0")


def test_a_field_grows_with_the_network_and_keeps_within_what_its_cells_could_see() -> None:
    stride = [nn.Conv2d(3 if place == 0 else 8, 8, 3, 2, 1) for place in range(3)]
    shallow, deep = of_network(*stride[:2], size=64), of_network(*stride, *(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(2)))
    assert receptive_side(shallow) < receptive_side(deep)
    assert receptive_side(of_network(nn.Conv2d(3, 4, 3, padding=1))) == NARROWEST


def test_a_network_that_lets_no_gradient_through_has_the_widest_field() -> None:
    class Cut(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach()

    assert receptive_side(of_network(nn.Conv2d(3, 4, 3), Cut())) == WIDEST


def test_measuring_a_field_leaves_the_network_as_it_came() -> None:
    classifier = of_network(nn.Conv2d(3, 4, 3))
    classifier.module.train()
    before = torch.random.get_rng_state()
    receptive_side(classifier)
    assert classifier.module.training
    assert not classifier.target_layer._forward_hooks
    assert all(parameter.grad is None for parameter in classifier.module.parameters())
    assert torch.equal(before, torch.random.get_rng_state())
