"""Perturbation methods against loops, against the peers that compute the same, and against what they promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.attribution import METHODS, RISE, AblationCAM, Method, Occlusion, ScoreCAM
from audit.attribution.method import Choose
from audit.datasets.classes import ClassMapping
from audit.images.views import Fit
from audit.models import Classifier, Execution, Preprocessing
from audit.models.layers import Layout

SIZE = 16
CLASS_IDS = torch.tensor([[0, 5, 2], [3, 1, 4]])
OPTIONS: dict[str, dict[str, Any]] = {
    "scorecam": {},
    "ablationcam": {},
    "occlusion": {"patch": 0.5, "stride": 0.25},
    "rise": {"masks": 18, "cells": 3},
}
KINDS = ("linear", "pooled", "general", "tokens")
ALL = pytest.mark.parametrize(
    ("name", "kind"), [*product(("scorecam", "ablationcam"), KINDS), ("occlusion", "general"), ("rise", "general")]
)
"""Occlusion and RISE know nothing of layers: one network is enough for them."""


class SmallNet(nn.Module):
    """A convolution to [B, 5, 8, 8], one channel of it dead, then a head of the kind asked for, with 6 outputs."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU())
        with torch.no_grad():
            self.features[0].weight[2] = 0  # type: ignore[index]
            self.features[0].bias[2] = -1  # type: ignore[index]
        pool = nn.AdaptiveAvgPool2d(1)
        heads: dict[str, list[nn.Module]] = {
            "linear": [pool, nn.Flatten(), nn.Linear(5, 6)],
            "pooled": [pool, nn.Flatten(), nn.Linear(5, 7), nn.Hardswish(), nn.Linear(7, 6)],
            "general": [nn.Flatten(), nn.Linear(320, 9), nn.ReLU(), nn.Linear(9, 6)],
            "tokens": [_Tokens(), _ReadTokens()],
        }
        self.head = nn.Sequential(*heads[kind])

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


class _Tokens(nn.Module):
    """[B, 5, 8, 8] -> one class token, all ones, and 64 of the grid: [B, 65, 5]."""

    def forward(self, grid: Tensor) -> Tensor:
        return torch.cat([torch.ones(len(grid), 1, 5).to(grid), grid.flatten(2).mT], dim=1)


class _ReadTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(tokens[:, 0] * tokens[:, 1:].amax(dim=1))  # type: ignore[no-any-return]


class Joined(nn.Module):
    """A layer whose output is joined by channel to what goes past it, as in DenseNet."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.features = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.out = nn.LazyLinear(6)
        self.join = join
        self(torch.zeros(1, 3, SIZE, SIZE))

    def forward(self, images: Tensor) -> Tensor:
        past = self.first(images)
        return self.out(self.join(self.features(past), past).relu().amax(dim=(2, 3)))  # type: ignore[no-any-return]


def classifier_of(module: nn.Module, outputs: tuple[tuple[int, ...], ...] | None = None, layer: str = "") -> Classifier:
    outputs = outputs or tuple((index,) for index in range(6))
    mapping = ClassMapping(tuple(f"class {index}" for index in range(len(outputs))), outputs)
    return Classifier(module.eval(), Preprocessing(Fit(SIZE)), mapping, layer or "features")


def small(kind: str, outputs: tuple[tuple[int, ...], ...] | None = None) -> Classifier:
    return classifier_of(SmallNet(kind), outputs, "head.0" if kind == "tokens" else "features")


def method_of(name: str, classifier: Classifier, execution: Execution | None = None) -> Method:
    return METHODS[name](classifier, execution or Execution(), **OPTIONS[name])


def inputs(count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def maps_of(name: str, classifier: Classifier, images: Tensor, class_ids: Tensor) -> Tensor:
    with method_of(name, classifier) as explain:
        return explain(images, class_ids)[0]


def score_of(classifier: Classifier, class_id: int, probability: bool) -> Callable[[Any], float]:
    """p(c) or y^c of an image [3, H, W]."""

    def score(image: Any) -> float:
        with torch.no_grad():
            outputs = classifier.module(torch.as_tensor(image)[None].float())[0].double().numpy()
        logit = oracles.class_logit(outputs, classifier.mapping.outputs[class_id])
        return float(np.exp(logit) / np.exp(outputs).sum()) if probability else logit

    return score


def layer_of(classifier: Classifier, image: Tensor) -> tuple[np.ndarray[Any, Any], Callable[[Tensor], Tensor]]:
    """The layer's activation [channels, h, w], and the outputs of the image when another takes its place."""
    kept: list[Tensor] = []
    layer = classifier.target_layer
    handle = layer.register_forward_hook(lambda _m, _i, output: kept.append(output.clone()))
    with torch.no_grad():
        classifier.module(image[None])
    handle.remove()
    layout = Layout.of(kept[0].shape)
    assert layout is not None

    def outputs_with(activation: Tensor) -> Tensor:
        own = kept[0].clone()
        if own.ndim == 3:
            own[:, 1:] = activation.flatten(1).T
        else:
            own = activation[None]
        handle = layer.register_forward_hook(lambda *_: own)
        with torch.no_grad():
            outputs: Tensor = classifier.module(image[None])[0]
        handle.remove()
        return outputs

    return layout.to_grid(kept[0])[0].double().numpy(), outputs_with


def expected_map(name: str, classifier: Classifier, image: Tensor, class_id: int) -> np.ndarray[Any, Any]:
    score = score_of(classifier, class_id, name in ("occlusion", "rise"))
    pixels = image.double().numpy()
    if name == "occlusion":
        return oracles.occlusion(score, pixels, 4, 2)
    if name == "rise":
        explain = method_of(name, classifier)
        assert isinstance(explain, RISE)
        shifts = [(int(y * 6), int(x * 6)) for y, x in explain._shifts.tolist()]
        masks = [oracles.rise_mask(g.numpy(), s, SIZE) for g, s in zip(explain._grids, shifts, strict=True)]
        return oracles.rise(score, pixels, masks, 0.5)
    activation, outputs_with = layer_of(classifier, image)
    if name == "scorecam":
        return oracles.scorecam(score, pixels, activation)
    group = classifier.mapping.outputs[class_id]

    def ablated(activation: Tensor | None) -> float:
        return score(image) if activation is None else oracles.class_logit(outputs_with(activation).numpy(), group)

    return oracles.ablationcam(ablated, activation)


def assert_expected(name: str, classifier: Classifier, images: Tensor, class_ids: Tensor) -> None:
    found = maps_of(name, classifier, images, class_ids)
    rows = [
        expected_map(name, classifier, image, index)
        for image, ids in zip(images, class_ids.tolist(), strict=True)
        for index in ids
    ]
    expected = torch.from_numpy(np.stack(rows)).view(found.shape).float()
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-4 * float(expected.abs().max()))


@ALL
def test_maps_are_those_of_the_formula(name: str, kind: str) -> None:
    assert_expected(name, small(kind), inputs(), CLASS_IDS)


@ALL
def test_a_class_of_several_outputs_is_scored_as_their_logsumexp(name: str, kind: str) -> None:
    assert_expected(name, small(kind, ((0, 3, 4), (5,))), inputs(), torch.tensor([[0, 1], [1, 0]]))


@ALL
def test_a_batch_gives_the_maps_of_its_images_one_by_one(name: str, kind: str) -> None:
    classifier, images = small(kind), inputs(3)
    class_ids = torch.tensor([[0, 5], [3, 1], [2, 2]])
    together = maps_of(name, classifier, images, class_ids)
    singles = torch.cat([maps_of(name, classifier, images[i : i + 1], class_ids[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, singles, rtol=1e-3, atol=1e-5 * float(together.abs().max()))
    assert torch.equal(together[2, 0], together[2, 1])


@ALL
def test_the_order_of_classes_makes_no_difference(name: str, kind: str) -> None:
    classifier, images = small(kind), inputs()
    turned = maps_of(name, classifier, images, CLASS_IDS.flip(1)).flip(1)
    torch.testing.assert_close(turned, maps_of(name, classifier, images, CLASS_IDS))


@ALL
def test_only_empty_slots_and_classes_without_output_are_nan(name: str, kind: str) -> None:
    classifier = small(kind, ((0, 1), (2,), ()))
    maps = maps_of(name, classifier, inputs(), torch.tensor([[0, -1], [2, 1]]))
    blank = maps.isnan()
    assert blank.all(dim=3).all(dim=2).tolist() == [[False, True], [True, False]]
    assert torch.equal(blank.any(dim=3).any(dim=2), blank.all(dim=3).all(dim=2))
    assert maps[~blank].isfinite().all()


@ALL
def test_the_model_is_left_as_it_came_and_the_maps_without_a_graph(name: str, kind: str) -> None:
    classifier = small(kind)
    module = classifier.module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with method_of(name, classifier) as explain:
        found = explain.attribute(inputs(), lambda logits: logits.topk(2).indices)
    assert not found.maps.requires_grad
    assert not found.maps.is_inference()
    assert found.maps.dtype == torch.float32
    assert all(part.training and not part._forward_hooks for part in module.modules())
    assert all(value.grad is None for value in module.parameters())
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_pass_that_fails_leaves_no_hook_behind(name: str) -> None:
    classifier = small("general")
    with method_of(name, classifier) as explain, pytest.raises(RuntimeError):
        explain(inputs()[:, :2], CLASS_IDS)
    assert not any(part._forward_hooks for part in classifier.module.modules())


@ALL
def test_an_image_that_is_not_finite_costs_no_other(name: str, kind: str) -> None:
    classifier, images = small(kind), inputs()
    whole = maps_of(name, classifier, images, CLASS_IDS)
    images[0] = torch.nan
    damaged = maps_of(name, classifier, images, CLASS_IDS)
    assert not damaged[0].isfinite().all(dim=2).all(dim=1).any()
    torch.testing.assert_close(damaged[1], whole[1], rtol=1e-3, atol=1e-5 * float(whole.abs().max()))


@ALL
@pytest.mark.parametrize("count", [1, 3, 17])
def test_methods_take_the_passes_that_they_say_however_many_targets(name: str, kind: str, count: int) -> None:
    taken: list[int] = []
    with method_of(name, small(kind)) as explain:
        said = explain.cost(1)
        assert explain.cost(6) == said
        explain.progress = taken.append
        explain(inputs(count), torch.arange(6).expand(count, -1))
    assert sum(taken) == said.forward * count
    assert said.backward == 0


@pytest.mark.parametrize("name", ["scorecam", "occlusion", "rise"])
def test_no_batch_is_larger_than_the_images_given_or_sixteen(name: str) -> None:
    classifier, sizes = small("linear"), []
    with method_of(name, classifier) as explain:
        handle = classifier.module.register_forward_pre_hook(lambda _m, given: sizes.append(len(given[0])))
        for count in (1, 5, 17):
            explain(inputs(count), torch.zeros(count, 1, dtype=torch.long))
            assert max(sizes) <= max(count, 16)
        handle.remove()


@pytest.mark.parametrize("kind", ["linear", "pooled", "general", "tokens"])
def test_the_grid_is_that_of_the_maps(kind: str) -> None:
    for name in OPTIONS:
        with method_of(name, small(kind)) as explain:
            assert explain(inputs(), CLASS_IDS)[0].shape == (2, 3, *explain.grid)
    assert RISE.pixels


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["linear", "tokens"])
def test_half_precision_gives_nearly_the_same_maps(name: str, kind: str) -> None:
    classifier, images = small(kind), inputs()
    exact = maps_of(name, classifier, images, CLASS_IDS)
    with method_of(name, classifier, Execution("bfloat16")) as explain:
        found = explain(images, CLASS_IDS)[0]
    warm = exact.abs().amax(dim=(2, 3)) > 0.1 * exact.abs().max()
    assert warm.any()
    assert F.cosine_similarity(found.flatten(2)[warm], exact.flatten(2)[warm], dim=1).min() > 0.98


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
def test_a_layer_without_any_difference_gives_a_map_of_nothing(name: str) -> None:
    classifier = small("general")
    with torch.no_grad():
        for value in classifier.target_layer.parameters():
            value.zero_()
    assert torch.equal(maps_of(name, classifier, inputs(), CLASS_IDS), torch.zeros(2, 3, 8, 8))


def test_occlusion_finds_the_one_place_that_counts() -> None:
    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen = images[:, :, 4:8, 8:12].mean(dim=(1, 2, 3))
            return torch.stack([seen, -seen], dim=1)

    classifier = classifier_of(Corner(), ((0,), (1,)), layer="none")
    with Occlusion(classifier, patch=0.25, stride=0.25) as explain:
        maps, _ = explain(torch.ones(1, 3, SIZE, SIZE), torch.tensor([[0, 1]]))
    expected = torch.zeros(4, 4)
    expected[1, 2] = torch.softmax(torch.tensor([1.0, -1.0]), 0)[0] - 0.5
    torch.testing.assert_close(maps[0, 0], expected)
    torch.testing.assert_close(maps[0, 1], -expected)


@pytest.mark.parametrize(("size", "stride", "patch"), [(16, 0.3, 0.5), (17, 1 / 5, 2 / 5), (16, 1 / 16, 1 / 16)])
def test_patches_cover_every_pixel_and_nothing_twice_as_wide(size: int, stride: float, patch: float) -> None:
    with Occlusion(small("linear"), patch=patch, stride=stride) as explain:
        masks = explain.masks(torch.arange(explain.mask_count), size, size)
    assert (masks.amin(dim=0) == 0).all()
    assert ((masks == 0) | (masks == 1)).all()
    widths = (1 - masks).amax(dim=1).sum(dim=1)
    assert widths.max() - widths.min() <= 1


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (Occlusion, {"stride": 0.2, "patch": 0.1}, "stride <= patch"),
        (Occlusion, {"stride": 0}, "0 < stride"),
        (Occlusion, {"stride": 0.01}, "at least one of the input's 16 pixels"),
        (RISE, {"masks": 0}, "at least one mask"),
        (RISE, {"cells": 17}, "1 to 16 cells"),
        (RISE, {"keep": 0}, "above 0"),
    ],
)
def test_impossible_options_are_refused(method: type[Method], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(small("linear"), **options)


def test_rise_masks_depend_on_the_seed_alone_and_show_the_share_asked_for() -> None:
    classifier = small("linear")
    masks = [
        method.masks(torch.arange(400), SIZE, SIZE)
        for method in (
            RISE(classifier, masks=400, keep=0.3),
            RISE(classifier, masks=400, keep=0.3),
            RISE(classifier, masks=400, keep=0.3, seed=1),
        )
    ]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert float(masks[0].mean()) == pytest.approx(0.3, abs=0.02)
    assert float(masks[0].mean(dim=0).std()) < 0.03
    assert 0 <= masks[0].min() <= masks[0].max() < 1 + 1e-6


@pytest.mark.parametrize(
    ("join", "alone"),
    [
        (lambda new, past: torch.cat([new, past], dim=1), False),
        (lambda new, past: new + past, True),
        (lambda new, past: past.add_(new), False),
    ],
    ids=["joined", "added", "added in place"],
)
def test_ablation_is_right_also_where_something_goes_past_the_layer(
    join: Callable[[Tensor, Tensor], Tensor], alone: bool
) -> None:
    classifier = classifier_of(Joined(join))
    with AblationCAM(classifier) as explain:
        assert explain.head == "general"
        assert explain._trunk_runs_alone is alone
    assert_expected("ablationcam", classifier, inputs(), CLASS_IDS)


def test_ablation_behind_a_linear_head_is_what_ablating_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images = small("linear", ((0, 3, 4), (5,))), inputs()
    with AblationCAM(classifier) as explain:
        closed, _ = explain(images, torch.tensor([[0, 1], [1, 0]]))
        monkeypatch.setattr(AblationCAM, "head", property(lambda _self: "general"))
        taken, _ = explain(images, torch.tensor([[0, 1], [1, 0]]))
    assert taken.max() > 0
    torch.testing.assert_close(closed, taken, rtol=1e-3, atol=1e-5)


@contextmanager
def plain_grad_cam(monkeypatch: pytest.MonkeyPatch, name: str, classifier: Classifier) -> Iterator[Any]:
    """A method of pytorch-grad-cam without its scaling of maps, upsampling as we do."""
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    monkeypatch.setattr(package.base_cam, "scale_cam_image", lambda maps, _size=None: np.float32(maps))
    upsampling = lambda size: partial(F.interpolate, size=size, mode="bilinear", align_corners=False)  # noqa: E731
    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", upsampling)
    with getattr(package, name)(classifier.module, [classifier.target_layer]) as peer:
        yield peer


def assert_alike(found: Tensor, expected: Tensor) -> None:
    a, b = found.double().flatten(1), expected.double().flatten(1)
    warm = b.amax(dim=1) > 0
    assert warm.any()
    assert torch.equal(a.amax(dim=1) > 0, warm)
    assert F.cosine_similarity(a[warm], b[warm], dim=1).min() > 0.9999


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
@pytest.mark.parametrize("name", ["ScoreCAM", "AblationCAM"])
def test_pytorch_grad_cam_gives_the_same_maps(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    classifier, images = small(kind), inputs()
    with plain_grad_cam(monkeypatch, name, classifier) as peer, torch.no_grad():
        logits = classifier.module(images)
        # It divides by the logit, which turns the map of a class with a negative one round.
        ids = logits.argmax(dim=1)
        assert logits.gather(1, ids[:, None]).min() > 0
        expected = torch.from_numpy(peer(images, [targets.ClassifierOutputTarget(int(i)) for i in ids]))
    found = maps_of(name.lower(), classifier, images, ids[:, None])[:, 0]
    assert_alike(found, expected)


def test_torchcam_gives_the_same_score_cam_where_nothing_is_upsampled() -> None:
    methods = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    classifier, images = classifier_of(Joined(torch.add), layer="features"), inputs()
    classifier.module.get_submodule("first").stride = (1, 1)  # type: ignore[assignment]
    found = maps_of("scorecam", classifier, images, CLASS_IDS)
    assert found.shape[2:] == (SIZE, SIZE)
    with methods.ScoreCAM(classifier.module, "features", input_shape=(3, SIZE, SIZE)) as peer, torch.no_grad():
        for slot, ids in enumerate(CLASS_IDS.T.tolist()):
            classifier.module(images)
            assert_alike(found[:, slot], peer(ids, normalized=False)[0])


def test_captum_gives_the_same_occlusion() -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    classifier, images = small("general"), inputs()
    peer = attr.Occlusion(lambda x: classifier.probabilities(classifier.module(x)))
    found = maps_of("occlusion", classifier, images, CLASS_IDS)
    for slot, ids in enumerate(CLASS_IDS.T):
        with torch.no_grad():
            expected = peer.attribute(images, (3, 8, 8), strides=(3, 4, 4), target=ids, baselines=0)
        torch.testing.assert_close(found[:, slot], expected[:, 0, ::4, ::4].float(), rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(expected[:, 0, ::4, ::4], expected[:, 2, 3::4, 3::4])


def test_score_cam_compiled_is_score_cam() -> None:
    classifier, images = small("linear"), inputs()
    choose: Choose = lambda _logits: CLASS_IDS  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda run, **_options: run)
        with ScoreCAM(classifier, Execution(compiled=True)) as explain:
            found = explain.attribute(images, choose).maps
    torch.testing.assert_close(found, maps_of("scorecam", classifier, images, CLASS_IDS))
