"""Backpropagation to the pixels: against hand-computed numbers, loops, Captum, and what theory says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_weighted import CLASS_IDS, KINDS, SIZE, SmallNet, inputs, small
from torch import Tensor, nn
from torch.nn import functional as F

from audit.attribution import Deconvnet, GuidedBackprop, IntegratedGradients, Saliency
from audit.attribution.methods.backprop import InputGradient
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images.views import Fit
from audit.models import Classifier, Execution, Preprocessing, load_classifier

METHODS: dict[str, type[InputGradient]] = {
    "saliency": Saliency,
    "deconvnet": Deconvnet,
    "guided": GuidedBackprop,
    "integrated": IntegratedGradients,
}
RULES: dict[str, type[InputGradient]] = {"backprop": Saliency, "deconvnet": Deconvnet, "guided": GuidedBackprop}


def explainer(name: str, classifier: Classifier, execution: Execution | None = None) -> InputGradient:
    """The method, with few steps where it takes steps."""
    options: dict[str, Any] = {"steps": 3} if name == "integrated" else {}
    return METHODS[name](classifier, execution or Execution(), **options)


def maps_of(name: str, classifier: Classifier, images: Tensor, class_ids: Tensor) -> Tensor:
    with explainer(name, classifier) as explain:
        return explain(images, class_ids)[0]


def colours_of(method: InputGradient, images: Tensor, class_ids: Tensor) -> Tensor:
    """Signed gradients [B, K, 3, H, W]."""
    with method:
        return method.gradients(images, lambda _logits: class_ids).colours


def classifier_of(module: nn.Module, size: int = SIZE, count: int = 6) -> Classifier:
    mapping = ClassMapping(tuple(f"class {index}" for index in range(count)), tuple((i,) for i in range(count)))
    return Classifier(module.eval(), Preprocessing(Fit(size)), mapping, "features")


def dense(weights: list[Any]) -> Classifier:
    """A network of one pixel: matrices with ReLUs between, in place."""
    layers: list[nn.Module] = []
    for matrix in weights:
        layers += [nn.Linear(len(matrix[0]), len(matrix), bias=False), nn.ReLU(inplace=True)]
        layers[-2].weight.data = torch.tensor(np.array(matrix), dtype=torch.float32)
    return classifier_of(nn.Sequential(nn.Flatten(), *layers[:-1]), 1, len(weights[-1]))


class FunctionalNet(SmallNet):
    """The same network with its first ReLU called as a function."""

    def __init__(self, rectify: Callable[[Tensor], Tensor]) -> None:
        super().__init__("general")
        self.rectify = rectify

    def forward(self, images: Tensor) -> Tensor:
        values = self.features[1](self.features[0](images))
        values = self.rectify(values)
        return self.head(self.features[4](self.features[3](values)))  # type: ignore[no-any-return]


def in_place_only(values: Tensor) -> Tensor:
    """A ReLU whose result is only looked for in its argument."""
    F.relu_(values)
    return values


def test_the_three_rules_give_the_numbers_computed_by_hand() -> None:
    """x = (1, 2, 3); the first ReLU is entered by (-1, 4, 2), the second by (6, -4).

    From the output, (3, 2) arrives at the second ReLU. By f > 0 and by both rules (3, 0) passes, by R > 0 (3, 2). Times
    the second matrix: (-3, 6, -3) and (1, 4, -3). At the first ReLU pass, by f > 0, (0, 6, -3); by R > 0, (1, 4, 0);
    by both, (0, 6, 0). Times the first matrix that makes the numbers below.
    """
    classifier = dense([[[1, -1, 0], [1, 0, 1], [0, 1, 0]], [[-1, 2, -1], [2, -1, 0]], [[3, 2]]])
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    found = {
        rule: colours_of(method(classifier), image, torch.tensor([[0]])).flatten().tolist()
        for rule, method in RULES.items()
    }
    assert found == {"backprop": [6, -3, 6], "deconvnet": [5, -1, 4], "guided": [6, 0, 6]}


@given(
    seed=st.integers(0, 10_000),
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    rule=st.sampled_from([*RULES]),
)
@settings(max_examples=30, deadline=None)
def test_the_rules_are_those_of_plain_loops_on_any_chain_of_layers(seed: int, widths: list[int], rule: str) -> None:
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(after, before)) for before, after in zip([3, *widths], [*widths, 2], strict=True)]
    values = rng.normal(size=3)
    image = torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
    found = colours_of(RULES[rule](dense(weights)), image, torch.tensor([[1]]))  # type: ignore[arg-type]
    expected = oracles.relu_chain(weights, values, 1, rule)
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [tuple((index,) for index in range(6)), ((0, 3, 4), (5,), (1,), (2,), (1, 3), (0,))])
@pytest.mark.parametrize("kind", KINDS)
def test_saliency_and_integrated_gradients_are_those_of_the_formulas(
    kind: str, groups: tuple[tuple[int, ...], ...]
) -> None:
    classifier, images = small(kind, groups), inputs()
    found = {name: maps_of(name, classifier, images, CLASS_IDS) for name in ("saliency", "integrated")}
    start = IntegratedGradients(classifier).start()
    for (row, slot), index in np.ndenumerate(CLASS_IDS.numpy()):
        gradient = oracles.input_gradient(classifier.module, images[row], groups[index])
        np.testing.assert_allclose(found["saliency"][row, slot], oracles.saliency(gradient), rtol=1e-3, atol=1e-6)
        expected = oracles.integrated(classifier.module, images[row], start, groups[index], 3)
        np.testing.assert_allclose(found["integrated"][row, slot], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("peer_name", "method"), [("Saliency", Saliency), ("Deconvolution", Deconvnet), ("GuidedBackprop", GuidedBackprop)]
)
def test_captum_gives_the_same_gradients(kind: str, peer_name: str, method: type[InputGradient]) -> None:
    """Captum keeps the colours and, for Saliency, the sign if told to. Its ReLUs must be modules."""
    peers = pytest.importorskip("captum.attr", reason="captum is not installed")
    classifier, images = small(kind), inputs()
    options = {"abs": False} if peer_name == "Saliency" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = getattr(peers, peer_name)(classifier.module)
        rows = [peer.attribute(images.clone(), target=ids, **options) for ids in CLASS_IDS.T.tolist()]
    expected = torch.stack(rows, dim=1).detach()
    torch.testing.assert_close(colours_of(method(classifier), images, CLASS_IDS), expected)
    with method(classifier) as explain:
        torch.testing.assert_close(explain(images, CLASS_IDS)[0], expected.abs().amax(dim=2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("baseline", ["black", "mean"])
def test_captum_gives_the_same_integrated_gradients(kind: str, baseline: str) -> None:
    peers = pytest.importorskip("captum.attr", reason="captum is not installed")
    classifier, images = small(kind), inputs()
    method = IntegratedGradients(classifier, steps=20, baseline=baseline)
    start = method.start().expand_as(images)
    peer = peers.IntegratedGradients(classifier.module)
    rows = [
        peer.attribute(images, start, target=ids, n_steps=20, method="riemann_middle").sum(dim=1)
        for ids in CLASS_IDS.T.tolist()
    ]
    with method as explain:
        found = explain(images, CLASS_IDS)[0]
    torch.testing.assert_close(found, torch.stack(rows, dim=1).detach().float(), rtol=1e-3, atol=1e-6)


def test_the_baselines_are_a_black_image_and_the_mean_colour() -> None:
    classifier = small("linear")
    black = classifier.preprocessing.normalise(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    start = IntegratedGradients(classifier).start()
    torch.testing.assert_close(start.expand_as(black), black)
    assert IntegratedGradients(classifier, baseline="mean").start().abs().max() == 0


class SmoothNet(nn.Module):
    """A network without bends, for which the middles of a few parts do well."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 3, stride=2))
        self.head = nn.Sequential(nn.Softplus(), nn.Flatten(), nn.Linear(27, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


@given(seed=st.integers(0, 10_000), outputs=st.sampled_from([((0,), (1,)), ((0, 2), (1,))]))
@settings(max_examples=15, deadline=None)
def test_integrated_gradients_are_complete(seed: int, outputs: tuple[tuple[int, ...], ...]) -> None:
    mapping = ClassMapping(("one", "two"), outputs)
    classifier = Classifier(SmoothNet(seed).eval(), Preprocessing(Fit(8)), mapping, "features")
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    with IntegratedGradients(classifier, steps=64) as explain:
        maps, logits = explain(images, torch.tensor([[0, 1]]))
        at_start = classifier.class_logits(explain.outputs(explain.start().expand_as(images)))
    torch.testing.assert_close(maps.sum(dim=(2, 3)), logits - at_start, rtol=1e-3, atol=1e-3)


def test_integrated_gradients_of_a_network_with_relus_are_complete_with_many_steps() -> None:
    classifier, images = small("general"), inputs()
    with IntegratedGradients(classifier, steps=300) as explain:
        maps, logits = explain(images, CLASS_IDS)
        at_start = classifier.class_logits(explain.outputs(explain.start().expand_as(images)))
    rise = (logits - at_start).gather(1, CLASS_IDS)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), rise, rtol=0, atol=0.02 * float(rise.abs().max()))


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu in place": lambda values: F.relu(values, inplace=True),
    "F.relu_ whose result is dropped": in_place_only,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda values: values.relu(),
    "Tensor.relu_": lambda values: values.relu_(),
    "F.threshold": lambda values: F.threshold(values, 0, 0),
    "nn.Threshold": nn.Threshold(0, 0, inplace=True),
    "clamp": lambda values: values.clamp(min=0),
    "clamp_": lambda values: values.clamp_(0),
    "clip": lambda values: torch.clip(values, min=0.0),
    "hardtanh": lambda values: F.hardtanh(values, 0, 1e9),
}


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
@pytest.mark.parametrize("method", [Deconvnet, GuidedBackprop])
def test_a_relu_called_as_a_function_counts_as_one(
    method: type[InputGradient], relu: Callable[[Tensor], Tensor]
) -> None:
    images = inputs()
    expected = colours_of(method(small("general")), images, CLASS_IDS)
    plain = colours_of(Saliency(small("general")), images, CLASS_IDS)
    found = colours_of(method(classifier_of(FunctionalNet(relu))), images, CLASS_IDS)
    assert not torch.allclose(expected, plain)
    torch.testing.assert_close(found, expected)


CAPPED: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu6": F.relu6,
    "nn.ReLU6": nn.ReLU6(inplace=True),
    "clamp": lambda values: torch.clamp(values, 0, 6),
}


@pytest.mark.parametrize("relu", CAPPED.values(), ids=CAPPED)
def test_a_relu_with_a_cap_is_closed_above_it_for_guided_and_not_for_deconvnet(
    relu: Callable[[Tensor], Tensor],
) -> None:
    class Capped(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return relu(images.flatten(1)) @ torch.tensor([[1.0], [1.0], [1.0]])

    image, ids = torch.tensor([-1.0, 3.0, 9.0]).view(1, 3, 1, 1), torch.tensor([[0]])
    classifier = classifier_of(Capped(), 1, 1)
    assert colours_of(GuidedBackprop(classifier), image, ids).flatten().tolist() == [0, 1, 0]
    assert colours_of(Deconvnet(classifier), image, ids).flatten().tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "bend",
    [
        nn.GELU(),
        nn.Hardtanh(),
        nn.LeakyReLU(),
        nn.Threshold(0, 1),
        nn.Threshold(1, 0),
        lambda values: values.clamp(min=-1),
        lambda values: values.clamp(max=1),
        lambda values: values.clamp(min=torch.zeros(())),
    ],
)
@pytest.mark.parametrize("method", [Deconvnet, GuidedBackprop])
def test_a_network_without_relus_is_refused(method: type[InputGradient], bend: Callable[[Tensor], Tensor]) -> None:
    class Bent(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            counts = torch.arange(3).clamp(min=0)
            return bend(images).flatten(1)[:, counts]

    with pytest.raises(ModelError, match=f"Expected a network with ReLUs for --method {method.name}.*saliency"):
        method(classifier_of(Bent(), 1, 3))


@pytest.mark.parametrize("name", ["densenet121", "mobilenet_v2", "googlenet"])
def test_the_rules_differ_in_networks_that_call_relus_as_functions_or_capped(name: str) -> None:
    classifier = load_classifier(f"torchvision:{name}", "random:0", size=32)
    found = [colours_of(method(classifier), inputs(1, 32), torch.tensor([[1]])) for method in RULES.values()]
    assert all(values.isfinite().all() for values in found)
    assert len({float(values.abs().sum()) for values in found}) == 3


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
@pytest.mark.parametrize(("peer_name", "rule"), [("GuidedBackprop", "guided"), ("Deconvolution", "deconvnet")])
def test_captum_gives_the_same_gradients_of_networks_with_relus_in_place(name: str, peer_name: str, rule: str) -> None:
    """Captum gets them not in place, for which its hooks are no match."""
    peers = pytest.importorskip("captum.attr", reason="captum is not installed")
    classifier, images = load_classifier(f"torchvision:{name}", "random:0", size=32), inputs(1, 32)
    found = colours_of(RULES[rule](classifier), images, torch.tensor([[1]]))
    for part in classifier.module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = getattr(peers, peer_name)(classifier.module).attribute(images.clone(), target=1)
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_the_maps_of_its_images_one_by_one(name: str, kind: str) -> None:
    classifier, images = small(kind), inputs()
    together = maps_of(name, classifier, images, CLASS_IDS)
    singles = [maps_of(name, classifier, images[i : i + 1], CLASS_IDS[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(singles), rtol=1e-3, atol=1e-4 * float(together.abs().max()))
    assert together.shape == (2, 3, *explainer(name, classifier).grid)


@given(order=st.permutations(range(3)), seed=st.integers(0, 100), name=st.sampled_from([*METHODS]))
@settings(max_examples=15, deadline=None)
def test_the_order_of_classes_does_not_matter(order: list[int], seed: int, name: str) -> None:
    classifier, ids = small("general"), torch.tensor([[0, 5, 2]])
    images = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    found = maps_of(name, classifier, images, ids)[:, order]
    torch.testing.assert_close(maps_of(name, classifier, images, ids[:, order]), found)


@given(scale=st.floats(0.1, 50), name=st.sampled_from([*METHODS]))
@settings(max_examples=15, deadline=None)
def test_maps_scale_with_the_last_layer(scale: float, name: str) -> None:
    classifier, images = small("general"), inputs()
    before = maps_of(name, classifier, images, CLASS_IDS)
    for value in ("weight", "bias"):
        classifier.module.get_parameter(f"head.3.{value}").data.mul_(scale)
    after = maps_of(name, classifier, images, CLASS_IDS)
    torch.testing.assert_close(after / scale, before, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_only_empty_slots_and_classes_without_output_are_nan(name: str, kind: str) -> None:
    classifier = small(kind, ((0, 1), (2,), ()))
    maps = maps_of(name, classifier, inputs(), torch.tensor([[0, -1], [2, 1]]))
    blank = maps.isnan()
    assert blank.all(dim=3).all(dim=2).tolist() == [[False, True], [True, False]]
    assert torch.equal(blank.any(dim=3).any(dim=2), blank.all(dim=3).all(dim=2))


@pytest.mark.parametrize("name", METHODS)
def test_a_class_named_twice_has_the_same_map_twice(name: str) -> None:
    maps = maps_of(name, small("general"), inputs(), torch.tensor([[4, 4], [1, 1]]))
    torch.testing.assert_close(maps[:, 0], maps[:, 1])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_left_as_it_came_and_the_maps_without_a_graph(name: str, kind: str) -> None:
    classifier = small(kind)
    module = classifier.module.train()
    module.get_parameter("features.0.bias").requires_grad_(False)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    images = inputs()
    with explainer(name, classifier) as explain:
        found = explain.attribute(images, lambda logits: logits.topk(2).indices)
    assert found.maps.dtype == torch.float32
    assert not found.maps.requires_grad
    assert not found.maps.is_inference()
    assert all(part.training and not part._forward_hooks for part in module.modules())
    assert all(value.grad is None for value in module.parameters())
    assert [key for key, value in module.named_parameters() if not value.requires_grad] == ["features.0.bias"]
    assert torch.equal(images, inputs())
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_the_model_is_left_as_it_came_after_an_exception(name: str) -> None:
    module = small("general").module
    explain = explainer(name, classifier_of(module))
    module.train()
    with pytest.raises(RuntimeError), explain:
        explain(inputs(2, SIZE + 2))
    assert all(part.training for part in module.modules())
    assert all(value.requires_grad for value in module.parameters())
    leaf = torch.tensor([-1.0, 1.0], requires_grad=True)
    torch.autograd.backward(-F.relu(leaf).sum())
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [0, -1]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_not_finite_costs_no_other(name: str, kind: str) -> None:
    classifier, images = small(kind), inputs()
    whole = maps_of(name, classifier, images, CLASS_IDS)
    images[0, 0, 4, 4] = torch.nan
    damaged = maps_of(name, classifier, images, CLASS_IDS)
    assert damaged[0].isnan().all()
    torch.testing.assert_close(damaged[1], whole[1], rtol=1e-3, atol=1e-4 * float(whole.abs().max()))


@pytest.mark.parametrize("name", METHODS)
def test_inputs_made_in_inference_mode_are_taken(name: str) -> None:
    with torch.inference_mode():
        images = inputs()
    expected = maps_of(name, small("general"), inputs(), CLASS_IDS)
    torch.testing.assert_close(maps_of(name, small("general"), images, CLASS_IDS), expected)


@pytest.mark.parametrize("name", METHODS)
def test_a_network_in_bfloat16_gives_nearly_the_same_maps(name: str) -> None:
    classifier, images = small("general"), inputs()
    expected = maps_of(name, classifier, images, CLASS_IDS)
    with explainer(name, classifier, Execution("bfloat16")) as explain:
        found = explain(images, CLASS_IDS)[0]
    assert found.dtype == torch.float32
    alike = F.cosine_similarity(found.flatten(2), expected.flatten(2), dim=2)
    assert alike.min() > 0.95


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_the_passes_that_they_say_and_report_the_images(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, images = {"forward": 0, "backward": 0, "progress": 0}, inputs()
    classifier, grad = small("general"), torch.autograd.grad

    def count_backward(total: Tensor, leaf: Tensor, **options: Any) -> Any:
        taken["backward"] += len(leaf)
        return grad(total, leaf, **options)

    with explainer(name, classifier) as explain:
        monkeypatch.setattr(torch.autograd, "grad", count_backward)
        handle = classifier.module.register_forward_pre_hook(
            lambda _module, given: taken.update(forward=taken["forward"] + len(given[0]))
        )
        explain.progress = lambda count: taken.update(progress=taken["progress"] + count)
        explain(images, CLASS_IDS)
        handle.remove()
    assert (taken["forward"] / 2, taken["backward"] / 2) == explain.cost(3)
    assert taken["progress"] == taken["forward"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "Expected `steps` of at least 1, got 0"),
        ({"baseline": "white"}, "Expected `baseline` to be one of black, mean, got 'white'"),
    ],
)
def test_impossible_options_of_integrated_gradients_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntegratedGradients(small("linear"), **options)
