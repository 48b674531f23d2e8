"""Maps against plain autograd, the certificate of each head, and the model left as it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from audit.attribution import CAM, METHODS, GradCAM, Method
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images.views import Fit
from audit.models import Classifier, Preprocessing, load_classifier

SIZE = 16
KINDS = {
    "torchvision:resnet18": "linear",
    "torchvision:efficientnet_b0": "linear",
    "torchvision:mobilenet_v3_small": "pooled",
    "torchvision:convnext_tiny": "pooled",
    "torchvision:vgg11": "general",
    "torchvision:densenet121": "general",
}


class TinyNet(nn.Module):
    """Two convolutions to [B, 5, 8, 8], then a head of the kind asked for, with 6 outputs."""

    def __init__(self, kind: str = "linear", seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.features = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.hidden = nn.Linear(5, 7)
        self.head = nn.Linear(320 if kind == "general" else 7 if kind == "pooled" else 5, 6)
        self.kind = kind

    def forward(self, images: Tensor) -> Tensor:
        activation = self.features(self.stem(images))
        if self.kind == "general":
            return F.linear(activation.flatten(1), self.head.weight).tanh() + self.head.bias
        if self.kind == "functional_relu":
            activation = F.relu(activation)
        if self.kind == "scaled_in_place":
            activation.mul_(2)
        mean = activation.mean(dim=(2, 3))
        return self.head(self.hidden(mean).tanh() if self.kind == "pooled" else mean)  # type: ignore[no-any-return]


def tiny(kind: str = "linear", groups: Sequence[Sequence[int]] | None = None, seed: int = 0) -> Classifier:
    """A classifier around `TinyNet` whose classes are groups of its outputs, one output each by default."""
    outputs = tuple(map(tuple, groups or [[output] for output in range(6)]))
    mapping = ClassMapping(tuple(f"class {index}" for index in range(len(outputs))), outputs)
    return Classifier(TinyNet(kind, seed).eval(), Preprocessing(Fit(SIZE)), mapping, "features")


def inputs(count: int = 3, size: int = SIZE, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def head_weight(classifier: Classifier) -> Tensor:
    return classifier.module.get_parameter("head.weight").detach()


def expected_maps(classifier: Classifier, images: Tensor, class_ids: Tensor, rectify: bool = True) -> Tensor:
    """Maps [B, K, h, w] of the autograd oracle; NaN where the class has no output or the slot is empty."""
    rows = []
    for image, ids in zip(images, class_ids.tolist(), strict=True):
        groups = [classifier.mapping.outputs[index] if index >= 0 else () for index in ids]
        layer = classifier.target_layer
        maps = [oracles.gradcam(classifier.module, layer, image, group, rectify) for group in groups if group]
        blank = torch.full_like(maps[0], torch.nan)
        found = iter(maps)
        rows.append(torch.stack([next(found) if group else blank for group in groups]))
    return torch.stack(rows)


def state_of(module: nn.Module) -> dict[str, object]:
    """All that an audit must leave as it was."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return {
        "hooks": [len(getattr(part, kind)) for part in module.modules() for kind in hooks],
        "training": [part.training for part in module.modules()],
        "requires_grad": [value.requires_grad for value in module.parameters()],
        "grads": [value.grad is None for value in module.parameters()],
        "values": [value.clone().tolist() for value in module.state_dict().values()],
        "grad mode": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize(("model", "kind"), KINDS.items())
def test_heads_of_known_networks_are_certified_and_their_maps_are_those_of_autograd(model: str, kind: str) -> None:
    classifier = load_classifier(model, "random:0", size=96)
    images = inputs(1, 96)
    with torch.no_grad():
        outputs = classifier.module(images)
    class_ids = outputs.topk(3).indices
    with GradCAM(classifier) as explain:
        assert explain.head == kind
        maps, logits = explain(images, class_ids)
    expected = expected_maps(classifier, images, class_ids)
    assert maps.shape[2:] == explain.grid
    assert expected.max() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    torch.testing.assert_close(logits, outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "pooled", "general", "functional_relu", "scaled_in_place"])
def test_each_path_gives_the_maps_of_autograd(kind: str) -> None:
    classifier, images = tiny(kind), inputs()
    class_ids = torch.tensor([[0, 5], [3, 1], [2, 2]])
    with GradCAM(classifier) as explain:
        maps, _ = explain(images, class_ids)
    torch.testing.assert_close(maps, expected_maps(classifier, images, class_ids), rtol=1e-4, atol=1e-6)


def test_a_relu_behind_the_last_module_is_not_certified_as_linear() -> None:
    classifier = tiny("functional_relu")
    assert GradCAM(classifier).head == "general"


def test_a_linear_head_is_certified_with_the_weights_of_its_layer() -> None:
    classifier = tiny()
    head = GradCAM(classifier).certificate
    assert (head.kind, head.grid, head.channels) == ("linear", (8, 8), 5)
    torch.testing.assert_close(head.weights, head_weight(classifier))


def test_a_nonlinear_head_on_the_mean_is_certified_as_pooled() -> None:
    assert GradCAM(tiny("pooled")).head == "pooled"


def test_a_head_that_flattens_is_general() -> None:
    assert GradCAM(tiny("general")).head == "general"


def test_three_paths_agree_on_one_linear_network(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images, class_ids = tiny(), inputs(), torch.tensor([[0, 4], [5, 2], [1, -1]])
    found = []
    with GradCAM(classifier) as explain:
        for path in (explain._closed_form, explain._at_mean, explain._at_layer):
            monkeypatch.setattr(explain, "_closed_form", path)
            found.append(explain(images, class_ids)[0])
    for maps in found[1:]:
        torch.testing.assert_close(maps, found[0], equal_nan=True, rtol=1e-4, atol=1e-7)


def test_cam_is_gradcam_times_the_positions_before_the_relu() -> None:
    classifier, images, class_ids = tiny(), inputs(), torch.tensor([[0, 4], [5, 2], [1, 3]])
    with CAM(classifier) as cam, GradCAM(classifier) as gradcam:
        raw, rectified = cam(images, class_ids)[0], gradcam(images, class_ids)[0]
    assert raw.min() < 0 < raw.max()
    torch.testing.assert_close(raw.relu(), rectified * 64, rtol=1e-4, atol=1e-6)
    expected = expected_maps(classifier, images, class_ids, rectify=False) * 64
    torch.testing.assert_close(raw, expected, rtol=1e-4, atol=1e-6)


def test_cam_sums_the_activations_weighted_by_the_rows_of_the_linear_layer() -> None:
    classifier, images = tiny(), inputs(1)
    with torch.no_grad():
        activation = classifier.target_layer(classifier.module.get_submodule("stem")(images))[0]
    expected = torch.zeros(8, 8)
    for channel in range(5):
        expected += head_weight(classifier)[4, channel] * activation[channel]
    with CAM(classifier) as cam:
        torch.testing.assert_close(cam(images, torch.tensor([[4]]))[0][0, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["pooled", "general", "functional_relu"])
def test_cam_refuses_a_head_that_is_not_linear(kind: str) -> None:
    with pytest.raises(ModelError, match="CAM needs global average pooling and a linear layer behind 'features'; use"):
        CAM(tiny(kind))


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
def test_a_batch_gives_the_maps_of_its_images_one_by_one(kind: str) -> None:
    classifier, images = tiny(kind), inputs(4)
    class_ids = torch.tensor([[0, 1], [2, 3], [4, 5], [5, 0]])
    with GradCAM(classifier) as explain:
        together, logits = explain(images, class_ids)
        singles = [explain(images[i : i + 1], class_ids[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat([maps for maps, _ in singles]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits, torch.cat([own for _, own in singles]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
def test_maps_follow_the_order_of_the_classes(kind: str) -> None:
    classifier, images, class_ids = tiny(kind), inputs(2), torch.tensor([[0, 3, 5], [1, 2, 4]])
    with GradCAM(classifier) as explain:
        maps, _ = explain(images, class_ids)
        flipped, _ = explain(images, class_ids.flip(1))
    torch.testing.assert_close(flipped, maps.flip(1))


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
def test_a_class_of_several_outputs_has_the_gradient_of_their_logsumexp(kind: str) -> None:
    classifier, images = tiny(kind, [[0, 3, 4], [], [5], [1, 2]]), inputs(2)
    class_ids = torch.tensor([[0, 1, 2, 3], [3, 2, 0, -1]])
    with GradCAM(classifier) as explain:
        maps, logits = explain(images, class_ids)
    expected = expected_maps(classifier, images, class_ids)
    torch.testing.assert_close(maps, expected, equal_nan=True, rtol=1e-4, atol=1e-6)
    assert torch.isneginf(logits[:, 1]).all()


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
@pytest.mark.parametrize("groups", [[[0], [1], []], [[0, 1], [2, 3], []]])
def test_only_empty_slots_and_classes_without_output_are_nan(kind: str, groups: list[list[int]]) -> None:
    class_ids = torch.tensor([[0, -1], [2, 1]])
    with GradCAM(tiny(kind, groups)) as explain:
        found = explain.attribute(inputs(2), lambda _logits: class_ids)
    blank = found.maps.isnan().all(dim=3).all(dim=2)
    assert blank.tolist() == [[False, True], [True, False]]
    assert torch.equal(found.maps.isnan().any(dim=3).any(dim=2), blank)
    assert torch.equal(found.class_ids, class_ids)


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
def test_targets_chosen_from_the_logits_are_the_ones_explained(kind: str) -> None:
    classifier, images = tiny(kind), inputs(3)
    with GradCAM(classifier) as explain:
        found = explain.attribute(images, lambda logits: logits.topk(2).indices)
        again, logits = explain(images, found.class_ids)
    assert torch.equal(found.class_ids, logits.topk(2).indices)
    torch.testing.assert_close(found.maps, again)
    with torch.no_grad():
        torch.testing.assert_close(found.probabilities, classifier.module(images).softmax(dim=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
def test_results_carry_no_graph_and_can_be_used_with_one(kind: str) -> None:
    with GradCAM(tiny(kind)) as explain:
        found = explain.attribute(inputs(1), lambda logits: logits.topk(1).indices)
    assert not found.class_ids.is_inference()
    for value in (found.maps, found.logits, found.probabilities):
        assert not value.requires_grad
        weight = torch.ones((), requires_grad=True)
        (value * weight).sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_came(kind: str, training: bool) -> None:
    classifier = tiny(kind)
    module = classifier.module.train(training)
    module.get_submodule("stem.1").eval()  # a part with a mode of its own
    module.get_submodule("hidden").requires_grad_(False)
    before = state_of(module)
    with GradCAM(classifier) as explain:
        assert not any(part.training for part in module.modules())
        explain(inputs(), torch.tensor([[0], [1], [2]]))
    assert state_of(module) == before


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
def test_the_model_is_left_as_it_came_after_an_error_in_the_context(kind: str) -> None:
    classifier = tiny(kind)
    before = state_of(classifier.module.train())

    def choose(_logits: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), GradCAM(classifier) as explain:
        explain.attribute(inputs(1), choose)
    assert state_of(classifier.module) == before


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
@pytest.mark.parametrize("where", ["stem", "features", "head"])
def test_the_model_is_left_as_it_came_after_an_error_in_a_forward_pass(kind: str, where: str) -> None:
    classifier = tiny(kind)
    module = classifier.module.train()
    explain = GradCAM(classifier)
    part = module.get_submodule("stem.0" if where == "stem" else where)
    if where == "head":
        module.head = nn.Linear(2, 2)  # fits no head
    handle = part.register_forward_hook(lambda *_: 1 / 0)
    before = state_of(module)
    with pytest.raises((ZeroDivisionError, RuntimeError)), explain:
        explain(inputs(1), torch.tensor([[0]]))
    assert state_of(module) == before
    handle.remove()


def test_an_error_while_certifying_leaves_the_model_as_it_came() -> None:
    classifier = tiny("linear")
    module = classifier.module.train()
    handle = module.get_submodule("head").register_forward_hook(lambda *_: 1 / 0)
    before = state_of(module)
    with pytest.raises(ZeroDivisionError):
        GradCAM(classifier)
    assert state_of(module) == before
    handle.remove()


def test_a_target_layer_without_a_spatial_output_is_refused_by_its_shape() -> None:
    classifier = tiny()
    flat = Classifier(classifier.module, classifier.preprocessing, classifier.mapping, "head")
    with pytest.raises(ModelError, match=r"Expected layer .head. to give \[B, channels, h, w\].* got \(1, 6\)"):
        GradCAM(flat)


class SideBranch(nn.Module):
    """A layer that runs, and on which nothing depends."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.side, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 6)

    def forward(self, images: Tensor) -> Tensor:
        self.side(images)
        return self.head(self.trunk(images).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def test_a_target_layer_that_the_outputs_do_not_depend_on_is_refused() -> None:
    classifier = tiny()
    aside = Classifier(SideBranch().eval(), classifier.preprocessing, classifier.mapping, "side")
    with pytest.raises(ModelError, match=r"outputs have no gradient at its layer 'side'; choose another --layer"):
        GradCAM(aside)


def test_a_target_layer_that_never_runs_is_refused_by_its_name() -> None:
    classifier = tiny()
    idle = Classifier(classifier.module, classifier.preprocessing, classifier.mapping, "hidden")
    with pytest.raises(ModelError, match="never runs its layer 'hidden'"):
        GradCAM(idle)


class ReusingNet(nn.Module):
    """One ReLU module used twice, at two numbers of channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(5, 6)

    def forward(self, images: Tensor) -> Tensor:
        activation = self.relu(self.second(self.relu(self.first(images))))
        return self.head(activation.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def test_a_layer_used_twice_is_explained_at_its_last_use() -> None:
    base, images, class_ids = tiny(), inputs(2), torch.tensor([[0, 1], [2, 3]])
    classifier = Classifier(ReusingNet().eval(), base.preprocessing, base.mapping, "relu")
    with GradCAM(classifier) as explain:
        maps, _ = explain(images, class_ids)
    torch.testing.assert_close(maps, expected_maps(classifier, images, class_ids), rtol=1e-4, atol=1e-7)


@given(
    kind=st.sampled_from(["linear", "pooled", "general"]),
    seed=st.integers(0, 1000),
    class_id=st.integers(0, 5),
    scale=st.floats(0.1, 10),
)
@settings(max_examples=30, deadline=None)
def test_gradcam_is_finite_never_negative_and_scales_with_the_logits(
    kind: str, seed: int, class_id: int, scale: float
) -> None:
    classifier, images, class_ids = tiny(kind, seed=seed), inputs(2, seed=seed), torch.full((2, 1), class_id)
    with GradCAM(classifier) as explain:
        maps, _ = explain(images, class_ids)
    assert maps.isfinite().all()
    assert (maps >= 0).all()
    if kind != "general":
        head_weight(classifier).mul_(scale)
        with GradCAM(classifier) as explain:
            torch.testing.assert_close(explain(images, class_ids)[0], maps * scale, rtol=1e-3, atol=1e-5)


@given(seed=st.integers(0, 1000), shift=st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_a_map_of_a_linear_head_moves_with_the_activation(seed: int, shift: int) -> None:
    classifier = tiny(seed=seed)
    activation = torch.randn(1, 5, 8, 8, generator=torch.Generator().manual_seed(seed))
    maps = []
    for moved in (activation, activation.roll(shift, 3)):
        handle = classifier.target_layer.register_forward_hook(returning(moved))
        with GradCAM(classifier) as explain:
            maps.append(explain(inputs(1), torch.tensor([[0, 1]]))[0])
        handle.remove()
    torch.testing.assert_close(maps[1], maps[0].roll(shift, 3))


def returning(value: Tensor) -> Callable[..., Tensor]:
    return lambda *_: value.clone()


@pytest.mark.parametrize("method", METHODS.values())
def test_every_method_names_itself_and_its_paper(method: type[Method]) -> None:
    assert METHODS[method.name] is method
    assert method.description
    assert any(character.isdigit() for character in method.paper)
