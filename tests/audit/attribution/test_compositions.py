"""Methods made of other methods' maps: against loops, Captum and torchcam, and what must hold for any inner method."""

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
from PIL import Image
from test_weighted import CLASS_IDS, KINDS, SIZE, inputs, small
from torch import Tensor, nn
from torch.nn import functional as F

from audit.attribution import (
    AROUND,
    Flip,
    GradCAM,
    GuidedBackprop,
    GuidedGradCAM,
    LayerCAMFused,
    Method,
    MultiScale,
    SmoothGrad,
    make_method,
)
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images.views import Fit
from audit.models import Classifier, Execution, Preprocessing, load_classifier
from audit.models.layers import find_grids, find_stage_layers


class StagedNet(nn.Module):
    """Three stages of grids 16, 8 and 4, and a pooled head with 6 outputs, for inputs of any size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
        self.features = nn.Sequential(nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(pool, nn.Flatten(), nn.Linear(6, 7), nn.Hardswish(), nn.Linear(7, 6))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(self.second(self.first(images))))  # type: ignore[no-any-return]


Outputs = tuple[tuple[int, ...], ...]
SINGLE: Outputs = tuple((index,) for index in range(6))


def staged(outputs: Outputs = SINGLE) -> Classifier:
    mapping = ClassMapping(tuple(f"class {index}" for index in range(len(outputs))), outputs)
    return Classifier(StagedNet().eval(), Preprocessing(Fit(SIZE)), mapping, "features")


NAMES = (
    "smoothgrad:gradcam",
    "smoothgrad:guided",
    "multiscale:layercam",
    "multiscale:saliency",
    "flip:gradcam++",
    "flip:multiscale:hirescam",
    "guided-gradcam",
    "layercam-fused",
)
FEW = {"samples": 3, "scales": "0.5,1,1.5"}


def made(name: str, classifier: Classifier, **options: Any) -> Method:
    parts = name.split(":")
    taken = {
        key: value for key, value in FEW.items() if {"samples": "smoothgrad", "scales": "multiscale"}[key] in parts
    }
    return make_method(name, classifier, options=taken | options)


def maps_of(method: Method, images: Tensor, class_ids: Tensor = CLASS_IDS) -> Tensor:
    with method:
        return method(images, class_ids)[0]


def gradcam_oracle(classifier: Classifier, image: Tensor, index: int) -> np.ndarray[Any, Any]:
    outputs = classifier.mapping.outputs[index]
    return oracles.gradcam(classifier.module, classifier.target_layer, image, outputs).double().numpy()


def assert_equals(found: Tensor, classifier: Classifier, expected: Callable[[int, int], Any]) -> None:
    """Maps [B, K, h, w] against those of a row and a class."""
    assert found.abs().max() > 0
    for (row, slot), index in np.ndenumerate(CLASS_IDS.numpy()):
        np.testing.assert_allclose(found[row, slot], expected(row, int(index)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 7])
def test_smoothgrad_is_the_mean_over_noisy_copies(seed: int) -> None:
    classifier, images = staged(), inputs() * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    draws = torch.Generator().manual_seed(seed)
    patterns = [torch.randn(3, SIZE, SIZE, generator=draws) for _ in range(4)]

    def expected(row: int, index: int) -> Any:
        spread = 0.2 * float(images[row].max() - images[row].min())
        return np.mean([gradcam_oracle(classifier, images[row] + spread * one, index) for one in patterns], axis=0)

    found = maps_of(SmoothGrad(GradCAM(classifier), samples=4, noise=0.2, seed=seed), images)
    assert_equals(found, classifier, expected)


def pillow_resized(image: Tensor, side: int) -> Tensor:
    """Image [3, H, W] at another size by Pillow, whose bilinear filter smooths where it shrinks."""
    planes = [Image.fromarray(plane.numpy(), "F").resize((side, side), Image.Resampling.BILINEAR) for plane in image]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))


@pytest.mark.parametrize(("scales", "sides"), [("0.5, 1,1.5", (8, 16, 24)), ((2.0, 0.75), (32, 12)), (1, (16,))])
def test_multiscale_is_the_sum_over_sizes(scales: Any, sides: tuple[int, ...]) -> None:
    classifier, images = staged(), inputs()

    def expected(row: int, index: int) -> Any:
        scaled = [pillow_resized(images[row], side) for side in sides]
        return sum(oracles.on_grid(gradcam_oracle(classifier, image, index), 4) for image in scaled)

    assert_equals(maps_of(MultiScale(GradCAM(classifier), scales=scales), images), classifier, expected)


def test_sizes_that_count_alike_count_by_their_positions() -> None:
    classifier, images = staged(), inputs()

    def expected(row: int, index: int) -> Any:
        scaled = [(side / 16, pillow_resized(images[row], side)) for side in (8, 16, 24)]
        maps = [(share, gradcam_oracle(classifier, image, index)) for share, image in scaled]
        return sum(share**2 * oracles.on_grid(one, 4) for share, one in maps)

    assert_equals(maps_of(MultiScale(GradCAM(classifier), scales=(0.5, 1, 1.5), even=1), images), classifier, expected)


def test_flip_is_the_mean_with_the_mirror_image() -> None:
    classifier, images = staged(), inputs()

    def expected(row: int, index: int) -> Any:
        mirrored = gradcam_oracle(classifier, torch.from_numpy(images[row].numpy()[:, :, ::-1].copy()), index)
        return (gradcam_oracle(classifier, images[row], index) + mirrored[:, ::-1]) / 2

    assert_equals(maps_of(Flip(GradCAM(classifier)), images), classifier, expected)


def test_the_flipped_map_of_a_mirror_image_is_the_mirrored_map() -> None:
    classifier, images = staged(), inputs()
    found = maps_of(Flip(GradCAM(classifier)), images)
    torch.testing.assert_close(maps_of(Flip(GradCAM(classifier)), images.flip(3)), found.flip(3))


@pytest.mark.parametrize("kind", KINDS)
def test_captum_gives_the_same_guided_gradcam(kind: str) -> None:
    """Captum keeps the colours and must be told to interpolate as the paper does."""
    peers = pytest.importorskip("captum.attr", reason="captum is not installed")
    classifier, images = small(kind), inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = peers.GuidedGradCam(classifier.module, classifier.target_layer)
        rows = [peer.attribute(images.clone(), target=i, interpolate_mode="bilinear") for i in CLASS_IDS.T.tolist()]
    expected = torch.stack(rows, dim=1).detach().abs().amax(dim=2)
    found = maps_of(GuidedGradCAM(classifier), images)
    assert found.max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize("layers", ["", "features, second, first", ("second", "features"), "first.0,second"])
@pytest.mark.parametrize("outputs", [SINGLE, ((0, 3, 4), (5,), (1, 2), (2,), (1, 3), (0,))])
def test_layercam_is_fused_as_the_formula_says(layers: Any, outputs: Outputs) -> None:
    classifier, images = staged(outputs), inputs()
    module = classifier.module
    module.get_submodule("first")[1].inplace = False  # for the oracle, which keeps what the convolution gives
    names = [name.strip() for name in layers.split(",")] if isinstance(layers, str) else list(layers)
    taken = ["first", "second", "features"] if layers == "" else names

    def expected(row: int, index: int) -> Any:
        tapped = [module.get_submodule(name) for name in taken]
        pulled = [oracles.pulled(module, layer, images[row], outputs[index]) for layer in tapped]
        return oracles.layercam_fused([oracles.layercam(*one) for one in pulled], 1.5)

    method = LayerCAMFused(classifier, layers=layers, gamma=1.5)
    assert list(method.layers) == taken
    assert_equals(maps_of(method, images), classifier, expected)


def test_torchcams_layers_fused_by_the_formula_give_the_same_map() -> None:
    """torchcam itself scales deep layers too, after subtracting the smallest value: only its layers' maps are taken."""
    peers = pytest.importorskip("torchcam.methods", reason="torchcam is not installed")
    classifier, image = staged(), inputs(1)
    found = maps_of(LayerCAMFused(classifier), image, torch.tensor([[2]]))
    with peers.LayerCAM(classifier.module, ["first", "second", "features"], input_shape=(3, SIZE, SIZE)) as peer:
        maps = peer(2, classifier.module(image), normalized=False)
    expected = oracles.layercam_fused([one[0].double().numpy() for one in maps], 2)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["layer2", "layer3", "layer4"]),
        ("convnext_tiny", ["features.4.0", "features.6.0", "features"]),
        ("swin_t", ["features.3", "features.5", "permute"]),
    ],
)
def test_the_layers_fused_by_default_end_the_last_three_stages(name: str, expected: list[str]) -> None:
    classifier = load_classifier(f"torchvision:{name}", "random:0", size=64)
    grids = find_grids(classifier.module, classifier.example())
    assert find_stage_layers(grids, classifier.layer) == expected


def test_the_options_of_each_part_reach_it() -> None:
    around = make_method("smoothgrad:gradcam", staged(), options={"samples": 4})
    assert isinstance(around, SmoothGrad)
    assert (around.samples, type(around.inner)) == (4, GradCAM)
    outer = make_method("flip:multiscale:integrated", staged(), options={"scales": "1,2", "steps": 5})
    assert isinstance(outer, Flip)
    assert isinstance(outer.inner, MultiScale)
    assert outer.inner.scales == (1, 2)
    assert outer.cost(3) == (2 * 2 * 6, 2 * 2 * 5 * 3)


@pytest.mark.parametrize("name", AROUND)
def test_a_method_around_another_has_its_grid_and_resolution(name: str) -> None:
    coarse, fine = (make_method(f"{name}:{inner}", staged()) for inner in ("gradcam", "saliency"))
    assert (coarse.grid, coarse.pixels) == ((4, 4), False)
    assert (fine.grid, fine.pixels) == ((16, 16), True)
    assert coarse.head == make_method("gradcam", staged()).head


@given(factor=st.floats(0.5, 20), name=st.sampled_from(["smoothgrad:hirescam", "multiscale:guided", "guided-gradcam"]))
@settings(max_examples=8, deadline=None)
def test_maps_scale_with_the_last_layer(factor: float, name: str) -> None:
    """Guided Grad-CAM twice, being a product of two."""
    classifier, images = staged(), inputs()
    before = maps_of(made(name, classifier), images)
    for value in ("weight", "bias"):
        classifier.module.get_parameter(f"head.4.{value}").data.mul_(factor)
    after = maps_of(made(name, classifier), images)
    power = 2 if name == "guided-gradcam" else 1
    scale = float(before.abs().max())
    torch.testing.assert_close(after / factor**power, before, rtol=1e-3, atol=1e-4 * scale)


@given(order=st.permutations(range(3)), seed=st.integers(0, 100), name=st.sampled_from(NAMES))
@settings(max_examples=15, deadline=None)
def test_the_order_of_classes_does_not_matter(order: list[int], seed: int, name: str) -> None:
    classifier, ids = staged(), torch.tensor([[0, 5, 2]])
    images = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    found = maps_of(made(name, classifier), images, ids)[:, order]
    torch.testing.assert_close(maps_of(made(name, classifier), images, ids[:, order]), found, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_the_maps_of_its_images_one_by_one(name: str) -> None:
    method, images = made(name, staged()), inputs()
    together = maps_of(method, images)
    singles = [maps_of(method, images[i : i + 1], CLASS_IDS[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(singles), rtol=1e-3, atol=1e-4 * float(together.abs().max()))
    assert together.shape == (2, 3, *method.grid)


@pytest.mark.parametrize("name", ["smoothgrad:gradcam", "flip:saliency", "guided-gradcam"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_head_is_taken(name: str, kind: str) -> None:
    maps = maps_of(made(name, small(kind)), inputs())
    assert maps.isfinite().all()
    assert maps.flatten(1).amax(dim=1).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_only_empty_slots_and_classes_without_output_are_nan(name: str) -> None:
    class_ids = torch.tensor([[0, -1, 0], [2, 1, 1]])
    maps = maps_of(made(name, staged(((0, 1), (2,), ()))), inputs(), class_ids)
    blank = maps.isnan()
    assert blank.all(dim=3).all(dim=2).tolist() == [[False, True, False], [True, False, False]]
    assert torch.equal(blank.any(dim=3).any(dim=2), blank.all(dim=3).all(dim=2))
    torch.testing.assert_close(maps[0, 0], maps[0, 2])


@pytest.mark.parametrize("name", NAMES)
def test_the_classes_are_chosen_from_the_logits_of_the_image_itself(name: str) -> None:
    classifier, images = staged(), inputs()
    chosen: list[Tensor] = []

    def choose(logits: Tensor) -> Tensor:
        chosen.append(logits)
        return logits.topk(2).indices

    with made(name, classifier) as explain:
        found = explain.attribute(images, choose)
    with torch.inference_mode():
        outputs = classifier.module(images)
    assert len(chosen) == 1
    torch.testing.assert_close(chosen[0], outputs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits, outputs, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.class_ids, outputs.topk(2).indices)
    torch.testing.assert_close(found.probabilities, outputs.softmax(dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*NAMES, "multiscale:gradcam"])
def test_methods_take_the_passes_that_they_say_and_report_the_images(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, images = {"forward": 0, "backward": 0, "progress": 0}, inputs()
    grad = torch.autograd.grad

    def count_backward(*arguments: Any, **options: Any) -> Any:
        taken["backward"] += len(options["grad_outputs"]) if "grad_outputs" in options else 1
        return grad(*arguments, **options)

    options = {"scales": "0.5,2"} if name == "multiscale:gradcam" else {}
    with made(name, staged(), **options) as explain:
        monkeypatch.setattr(torch.autograd, "grad", count_backward)
        handle = explain.classifier.module.register_forward_hook(lambda *_: taken.update(forward=taken["forward"] + 1))
        explain.progress = lambda count: taken.update(progress=taken["progress"] + count)
        explain(images, CLASS_IDS)
        handle.remove()
    assert (taken["forward"], taken["backward"]) == explain.cost(3)
    assert taken["progress"] == taken["forward"] * len(images)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_came_also_after_an_exception(name: str, fails: bool) -> None:
    classifier, images = staged(), inputs()
    module = classifier.module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}

    def choose(logits: Tensor) -> Tensor:
        if fails:
            raise LookupError
        return logits.topk(2).indices

    method = made(name, classifier)
    try:
        with method as explain:
            found = explain.attribute(images, choose)
        assert found.maps.dtype == torch.float32
        assert not found.maps.requires_grad
        assert not found.maps.is_inference()
    except LookupError:
        assert fails
    assert all(part.training and not part._forward_hooks for part in module.modules())
    assert all(value.grad is None and value.requires_grad for value in module.parameters())
    assert torch.equal(images, inputs())
    assert torch.is_grad_enabled()
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_is_not_finite_costs_no_other(name: str) -> None:
    classifier, images = staged(), inputs()
    whole = maps_of(made(name, classifier), images)
    images[0, 0, 4, 4] = torch.nan
    damaged = maps_of(made(name, classifier), images)
    assert not damaged[0].isfinite().all(dim=2).all(dim=1).any()
    torch.testing.assert_close(damaged[1], whole[1], rtol=1e-3, atol=1e-4 * float(whole.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_in_bfloat16_gives_nearly_the_same_maps(name: str) -> None:
    classifier, images = staged(), inputs()
    expected = maps_of(made(name, classifier), images)
    parts = {key: value for key, value in FEW.items() if hasattr(made(name, classifier), key)}
    found = maps_of(make_method(name, classifier, Execution("bfloat16"), parts), images)
    assert found.dtype == torch.float32
    warm = expected.flatten(2).abs().amax(dim=2) > 1e-2 * expected.abs().max()
    alike = F.cosine_similarity(found.flatten(2), expected.flatten(2), dim=2)[warm]
    assert alike.min() > 0.9


class Fixed(nn.Module):
    """A network for one size of input, as a vision transformer is."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(2 * SIZE * SIZE, 6))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("smoothgrad:gradcam", {"samples": 0}, ValueError, "Expected `samples` of at least 1, got 0"),
        ("smoothgrad:gradcam", {"noise": -1}, ValueError, "Expected `noise` as a share .*, got -1"),
        ("multiscale:gradcam", {"scales": "1,0"}, ValueError, "Expected `scales` to be different numbers above 0"),
        ("multiscale:gradcam", {"scales": "1,1"}, ValueError, "Expected `scales` to be different numbers above 0"),
        ("multiscale:gradcam", {"scales": ()}, ValueError, "Expected `scales` to be different numbers above 0"),
        ("multiscale:gradcam", {"scales": "1;2"}, ValueError, "Expected `scales` to be different numbers above 0"),
        ("layercam-fused", {"gamma": 0}, ValueError, "Expected a `gamma` above 0, got 0"),
        ("layercam-fused", {"layers": "features"}, ModelError, "Expected several layers.*got only features"),
        ("layercam-fused", {"layers": "features,head"}, ModelError, "'head' has none; known are first.0, first"),
    ],
)
def test_impossible_options_are_refused(
    name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_method(name, staged(), options=options)


def test_a_network_for_one_size_is_refused_by_multiscale() -> None:
    mapping = ClassMapping(("one",), ((0,),))
    classifier = Classifier(Fixed().eval(), Preprocessing(Fit(SIZE)), mapping, "features")
    with pytest.raises(ModelError, match=r"inputs of any size for --method multiscale, but one of 8 px \(scale 0.5\)"):
        MultiScale(GradCAM(classifier))
    assert MultiScale(GradCAM(classifier), scales="1").scales == (1,)


def test_a_network_with_one_grid_size_is_refused_by_fused_layercam() -> None:
    mapping = ClassMapping(("one",), ((0,),))
    classifier = Classifier(Fixed().eval(), Preprocessing(Fit(SIZE)), mapping, "features")
    with pytest.raises(ModelError, match="Expected several layers for --method layercam-fused, got only features"):
        LayerCAMFused(classifier)


def test_smoothgrad_without_noise_is_the_inner_method() -> None:
    classifier, images = staged(), inputs()
    found = maps_of(SmoothGrad(GuidedBackprop(classifier), samples=2, noise=0), images)
    torch.testing.assert_close(found, maps_of(GuidedBackprop(classifier), images))
