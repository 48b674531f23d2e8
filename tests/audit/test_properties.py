"""What holds for every network and image: how maps follow from batches, orders, scales and one another."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from audit.attribution import (
    CAM,
    METHODS,
    EigenCAM,
    GradCAM,
    HiResCAM,
    LayerCAM,
    WeightedActivations,
    XGradCAM,
)
from audit.datasets.classes import ClassMapping
from audit.images.views import Fit
from audit.models import Classifier, Preprocessing

SIZE = 12
OUTPUTS = 5
WEIGHTED = {name: method for name, method in METHODS.items() if issubclass(method, WeightedActivations)}
KINDS = ("linear", "pooled", "general")
ON_ANY_HEAD = sorted(set(WEIGHTED) - {"cam"})
PROPORTIONAL = sorted(set(WEIGHTED) - {"gradcam++", "eigencam"})
"""Methods whose map is proportional to the slopes. Grad-CAM++ is not: its weights g / (2 + g sum A) bend with g.
Eigen-CAM has none."""


@dataclass(frozen=True)
class Case:
    """A random network, images and the classes asked for, all drawn from a seed."""

    classifier: Classifier
    images: Tensor
    class_ids: Tensor

    def maps(self, method: type[WeightedActivations]) -> Tensor:
        return maps_of(method, self.classifier, self.images, self.class_ids)


class Network(nn.Module):
    """One or two convolutions and a ReLU, then a head of the kind asked for."""

    def __init__(self, kind: str, channels: int, deep: bool) -> None:
        super().__init__()
        deeper = [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()] if deep else []
        self.features = nn.Sequential(nn.Conv2d(3, channels, 3, stride=3), nn.ReLU(), *deeper)
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        heads: dict[str, list[nn.Module]] = {
            "linear": [*pooled, nn.Linear(channels, OUTPUTS)],
            "pooled": [*pooled, nn.Linear(channels, 6), nn.Tanh(), nn.Linear(6, OUTPUTS)],
            "general": [nn.Flatten(), nn.Linear(channels * 16, 6), nn.Tanh(), nn.Linear(6, OUTPUTS)],
        }
        self.head = nn.Sequential(*heads[kind])

    @property
    def last(self) -> nn.Linear:
        return self.head[-1]  # type: ignore[return-value]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


@st.composite
def cases(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Case:
    """Networks of 1 to 7 channels with 1 to 4 images and 1 to 4 classes an image, some of them twice."""
    kind, channels, deep = draw(st.sampled_from(kinds)), draw(st.integers(1, 7)), draw(st.booleans())
    count, slots = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 10_000)))
        network = Network(kind, channels, deep).eval()
        images = torch.randn(count, 3, SIZE, SIZE)
        class_ids = torch.randint(OUTPUTS, (count, slots))
    mapping = ClassMapping(tuple("abcde"), tuple((index,) for index in range(OUTPUTS)))
    return Case(Classifier(network, Preprocessing(Fit(SIZE)), mapping, "features"), images, class_ids)


def cases_for(name: str) -> st.SearchStrategy[Case]:
    """Networks on which a method works: CAM needs a linear head."""
    return cases(("linear",)) if name == "cam" else cases()


def maps_of(method: type[WeightedActivations], classifier: Classifier, images: Tensor, class_ids: Tensor) -> Tensor:
    with method(classifier) as explain:
        return explain(images, class_ids)[0]


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Equal to what rounding of the strongest cell of all makes."""
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-12)


few = settings(max_examples=15, deadline=None)


@few
@given(case=cases(kinds=("linear",)))
def test_gradcam_is_cam_over_the_positions_without_its_negative_part_and_hirescam_with_it(case: Case) -> None:
    positions = 16
    assert_same(case.maps(GradCAM), (case.maps(CAM) / positions).relu())
    assert_same(case.maps(HiResCAM), case.maps(CAM) / positions)


@few
@given(case=cases(kinds=("linear", "pooled")))
def test_methods_that_differ_in_how_slopes_vary_over_positions_agree_where_they_do_not(case: Case) -> None:
    gradcam = case.maps(GradCAM)
    assert_same(case.maps(HiResCAM).relu(), gradcam)
    assert_same(case.maps(XGradCAM), gradcam)


@few
@given(case=cases(kinds=("linear",)))
def test_layercam_is_gradcam_where_no_weight_is_negative(case: Case) -> None:
    case.classifier.module.last.weight.detach().abs_()  # type: ignore[union-attr]
    assert_same(case.maps(LayerCAM), case.maps(GradCAM))


@few
@given(case=cases())
def test_hirescam_lies_between_the_layercams_of_the_class_and_of_its_opposite(case: Case) -> None:
    """Behind a ReLU: sum_k g A = sum_k ReLU(g) A - sum_k ReLU(-g) A, and both sums are LayerCAMs."""
    signed, support = case.maps(HiResCAM), case.maps(LayerCAM)
    last = case.classifier.module.last
    with torch.no_grad():
        last.weight.neg_()  # type: ignore[union-attr, operator]
    assert_same(support - case.maps(LayerCAM), signed)


@few
@given(case=cases())
def test_support_and_opposition_of_gradcam_never_share_a_cell(case: Case) -> None:
    assert (case.maps(GradCAM) * case.maps(METHODS["counterfactual"])).abs().max() == 0  # type: ignore[type-abstract]


@pytest.mark.parametrize("name", WEIGHTED)
@few
@given(data=st.data())
def test_a_map_does_not_depend_on_what_else_is_in_the_batch(name: str, data: st.DataObject) -> None:
    case = data.draw(cases_for(name))
    chosen = data.draw(st.permutations(range(len(case.images))).map(lambda order: order[: 1 + len(order) // 2]))
    found = maps_of(WEIGHTED[name], case.classifier, case.images[chosen], case.class_ids[chosen])
    assert_same(found, case.maps(WEIGHTED[name])[chosen])


@pytest.mark.parametrize("name", WEIGHTED)
@few
@given(data=st.data())
def test_maps_follow_the_order_of_their_classes(name: str, data: st.DataObject) -> None:
    case = data.draw(cases_for(name))
    order = data.draw(st.permutations(range(case.class_ids.shape[1])))
    moved = maps_of(WEIGHTED[name], case.classifier, case.images, case.class_ids[:, order])
    assert_same(moved, case.maps(WEIGHTED[name])[:, order])


@pytest.mark.parametrize("name", PROPORTIONAL)
@few
@given(data=st.data(), scale=st.sampled_from([0.01, 0.5, 3.0, 100.0]))
def test_a_class_of_scaled_weights_has_a_scaled_map_and_the_others_theirs(
    name: str, data: st.DataObject, scale: float
) -> None:
    case = data.draw(cases_for(name))
    before = case.maps(WEIGHTED[name])
    with torch.no_grad():
        case.classifier.module.last.weight[0] *= scale  # type: ignore[index, union-attr]
    factors = torch.where(case.class_ids == 0, scale, 1.0)[:, :, None, None]
    after = case.maps(WEIGHTED[name])
    for found, expected in zip(after.flatten(0, 1), (before * factors).flatten(0, 1), strict=True):
        assert_same(found, expected)


@few
@given(case=cases(kinds=("linear",)))
def test_grad_cam_plus_plus_is_not_proportional_to_the_weights(case: Case) -> None:
    """Its weights g / (2 + g sum A) grow less than the slopes do."""
    method = WEIGHTED["gradcam++"]
    before = case.maps(method)
    with torch.no_grad():
        case.classifier.module.last.weight.mul_(100)  # type: ignore[union-attr, operator]
    after = case.maps(method)
    warm = before > 1e-3
    assert (after[warm] < 100 * before[warm]).all()
    assert (after >= before * 0.999).all()


@few
@given(case=cases(), shift=st.floats(-100, 100))
def test_a_bias_of_the_last_layer_changes_no_map(case: Case, shift: float) -> None:
    before = {name: case.maps(WEIGHTED[name]) for name in ON_ANY_HEAD}
    with torch.no_grad():
        case.classifier.module.last.bias.add_(shift)  # type: ignore[union-attr, operator]
    for name, maps in before.items():
        assert_same(case.maps(WEIGHTED[name]), maps)


@few
@given(case=cases())
def test_eigencam_is_the_same_for_every_class_and_whatever_the_head_says(case: Case) -> None:
    maps = case.maps(EigenCAM)
    with torch.no_grad():
        case.classifier.module.last.weight.normal_()  # type: ignore[union-attr, operator]
    assert torch.equal(maps, maps[:, :1].expand_as(maps))
    assert_same(case.maps(EigenCAM), maps)
