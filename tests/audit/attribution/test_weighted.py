"""Every method of weighted activations against plain NumPy, against pytorch-grad-cam, and against what theory says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from audit.attribution import (
    CAM,
    METHODS,
    EigenCAM,
    EigenGradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    WeightedActivations,
    XGradCAM,
    engine,
)
from audit.attribution.heads import Head, certify
from audit.attribution.methods.weighted import first_component
from audit.datasets.classes import ClassMapping
from audit.images.views import Fit
from audit.models import Classifier, Preprocessing, load_classifier

SIZE = 16
KINDS = ("linear", "pooled", "general")
ORACLES: dict[str, Callable[[Any, Any], Any]] = {
    "gradcam++": oracles.gradcam_plus_plus,
    "xgradcam": oracles.xgradcam,
    "hirescam": oracles.hirescam,
    "layercam": oracles.layercam,
    "eigencam": oracles.eigencam,
    "eigengradcam": oracles.eigengradcam,
    "counterfactual": oracles.counterfactual,
}
NETWORKS = {"resnet18": "linear", "a small network": "pooled", "squeezenet1_1": "general"}
CLASS_IDS = torch.tensor([[0, 5, 2], [3, 1, 4]])


class SmallNet(nn.Module):
    """Two convolutions and a ReLU to [B, 5, 8, 8], then a head of the kind asked for, with 6 outputs."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        pool = nn.AdaptiveAvgPool2d(1)
        heads: dict[str, list[nn.Module]] = {
            "linear": [pool, nn.Flatten(), nn.Linear(5, 6)],
            "pooled": [pool, nn.Flatten(), nn.Linear(5, 7), nn.Hardswish(), nn.Linear(7, 6)],
            "general": [nn.Flatten(), nn.Linear(320, 9), nn.ReLU(), nn.Linear(9, 6)],
            "flat": [nn.Flatten(), nn.Linear(320, 6)],
        }
        self.head = nn.Sequential(*heads[kind])

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


WEIGHTED = {name: method for name, method in METHODS.items() if issubclass(method, WeightedActivations)}


def small(kind: str, outputs: tuple[tuple[int, ...], ...] = tuple((index,) for index in range(6))) -> Classifier:
    mapping = ClassMapping(tuple(f"class {index}" for index in range(len(outputs))), outputs)
    return Classifier(SmallNet(kind).eval(), Preprocessing(Fit(SIZE)), mapping, "features")


def inputs(count: int = 2, size: int = SIZE) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def maps_of(method: type[WeightedActivations], classifier: Classifier, images: Tensor, class_ids: Tensor) -> Tensor:
    with method(classifier) as explain:
        return explain(images, class_ids)[0]


def expected_of(name: str, classifier: Classifier, images: Tensor, class_ids: Tensor) -> Tensor:
    """Maps [B, K, h, w] of the oracle."""
    rows = []
    for image, ids in zip(images, class_ids.tolist(), strict=True):
        for index in ids:
            outputs = classifier.mapping.outputs[index]
            rows.append(ORACLES[name](*oracles.pulled(classifier.module, classifier.target_layer, image, outputs)))
    return torch.from_numpy(np.stack(rows)).view(*class_ids.shape, *rows[0].shape)


def assert_alike(found: Tensor, expected: Tensor) -> None:
    """Cosine above 0.9999 for every target with any heat in [B, K, h, w], of which there must be some."""
    a, b = found.double().flatten(2), expected.double().flatten(2)
    warm = b.abs().amax(dim=2) > 0
    assert warm.any()
    assert torch.equal(a.abs().amax(dim=2) > 0, warm)
    a, b = a[warm], b[warm]
    a, b = a / a.abs().amax(dim=1, keepdim=True), b / b.abs().amax(dim=1, keepdim=True)
    assert F.cosine_similarity(a, b, dim=1).min() > 0.9999


def test_every_method_but_cam_and_gradcam_has_an_oracle_here() -> None:
    assert set(ORACLES) == set(WEIGHTED) - {"cam", "gradcam"}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_those_of_the_formula(name: str, kind: str) -> None:
    classifier, images = small(kind), inputs()
    found = maps_of(WEIGHTED[name], classifier, images, CLASS_IDS)
    expected = expected_of(name, classifier, images, CLASS_IDS).float()
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_class_of_several_outputs_has_the_map_of_their_logsumexp(name: str, kind: str) -> None:
    classifier, images, class_ids = small(kind, ((0, 3, 4), (5,))), inputs(), torch.tensor([[0, 1], [1, 0]])
    found = maps_of(WEIGHTED[name], classifier, images, class_ids)
    expected = expected_of(name, classifier, images, class_ids).float()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("kind", KINDS)
def test_only_empty_slots_and_classes_without_output_are_nan(name: str, kind: str) -> None:
    classifier = small(kind, ((0, 1), (2,), ()))
    maps = maps_of(WEIGHTED[name], classifier, inputs(), torch.tensor([[0, -1], [2, 1]]))
    blank = maps.isnan()
    assert blank.all(dim=3).all(dim=2).tolist() == [[False, True], [True, False]]
    assert torch.equal(blank.any(dim=3).any(dim=2), blank.all(dim=3).all(dim=2))


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_left_as_it_came_and_the_maps_without_a_graph(name: str, kind: str) -> None:
    classifier = small(kind)
    module = classifier.module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with WEIGHTED[name](classifier) as explain:
        found = explain.attribute(inputs(), lambda logits: logits.topk(2).indices)
    assert not found.maps.requires_grad
    assert not found.maps.is_inference()
    assert all(part.training and not part._forward_hooks for part in module.modules())
    assert all(value.grad is None for value in module.parameters())
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_not_finite_costs_no_other(name: str, kind: str) -> None:
    classifier, images = small(kind), inputs()
    whole = maps_of(WEIGHTED[name], classifier, images, CLASS_IDS)
    images[0, 0, 4, 4] = torch.nan
    damaged = maps_of(WEIGHTED[name], classifier, images, CLASS_IDS)
    assert not damaged[0].isfinite().all(dim=2).all(dim=1).any()
    torch.testing.assert_close(damaged[1], whole[1], rtol=1e-3, atol=1e-4 * float(whole.abs().max()))


def test_hirescam_adds_up_to_the_logit_less_its_bias_behind_one_linear_layer() -> None:
    classifier, images = small("flat"), inputs()
    with HiResCAM(classifier) as explain:
        assert explain.head == "general"
        maps, logits = explain(images, CLASS_IDS)
    bias = classifier.module.get_parameter("head.1.bias").detach()
    torch.testing.assert_close(maps.sum(dim=(2, 3)), logits.gather(1, CLASS_IDS) - bias[CLASS_IDS])


@pytest.mark.parametrize("kind", KINDS)
def test_eigencam_asks_for_no_class_and_is_nowhere_negative_behind_a_relu(kind: str) -> None:
    maps = maps_of(EigenCAM, small(kind), inputs(), CLASS_IDS)
    assert torch.equal(maps[:, :1].expand_as(maps), maps)
    assert maps.min() > -1e-6 * maps.max()
    assert maps.max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_eigengradcam_agrees_in_sign_with_hirescam(kind: str) -> None:
    found, evidence = (maps_of(method, small(kind), inputs(), CLASS_IDS) for method in (EigenGradCAM, HiResCAM))
    assert (found * evidence).sum(dim=(2, 3)).min() > 0


@pytest.mark.parametrize("method", WEIGHTED.values())
def test_methods_take_the_passes_that_they_say(
    method: type[WeightedActivations], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {"forward": 0, "backward": 0}
    classifier, grad = small("linear" if method is CAM else "general"), torch.autograd.grad

    def count_backward(*arguments: Any, **options: Any) -> Any:
        taken["backward"] += len(options["grad_outputs"])
        return grad(*arguments, **options)

    with method(classifier) as explain:
        monkeypatch.setattr(torch.autograd, "grad", count_backward)
        handle = classifier.module.register_forward_hook(lambda *_: taken.update(forward=taken["forward"] + 1))
        explain(inputs(), CLASS_IDS)
        handle.remove()
    assert (taken["forward"], taken["backward"]) == explain.cost(3)


@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(3, 5, 5), (40, 2, 3), (7, 1, 1), (1, 4, 4)]),
    scale=st.sampled_from([1e-18, 1.0, 1e12]),
)
@settings(max_examples=40, deadline=None)
def test_the_first_component_is_that_of_a_full_decomposition_at_any_scale(
    seed: int, shape: tuple[int, int, int], scale: float
) -> None:
    values = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed)) * scale
    expected = np.stack([oracles.eigencam(one, one) for one in values.double().numpy()])
    found = first_component(values).double()
    torch.testing.assert_close(found / scale, torch.from_numpy(expected) / scale, rtol=1e-3, atol=1e-4)


def test_the_first_component_of_nothing_is_nothing() -> None:
    assert torch.equal(first_component(torch.zeros(1, 3, 2, 2)), torch.zeros(1, 2, 2))


def test_the_first_component_of_centred_values_is_the_peers_up_to_its_sign() -> None:
    """pytorch-grad-cam centres the positions itself, which Eigen-CAM's paper does not."""
    peer = pytest.importorskip("pytorch_grad_cam.utils.svd_on_activations", reason="grad-cam is not installed")
    values = torch.randn(4, 12, 5, 5, generator=torch.Generator().manual_seed(3)).exp()
    expected = torch.from_numpy(peer.get_2d_projection(values.numpy()))
    found = first_component(values - values.mean(dim=(2, 3), keepdim=True))
    sign = (found * expected).sum(dim=(1, 2), keepdim=True).sign()
    torch.testing.assert_close(found * sign, expected, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[Classifier, Head]:
    """A network with random weights, its last layer made steep: peers' constants are nothing beside its gradients.

    Its target layer is behind a ReLU, as XGrad-CAM and Grad-CAM++ have it.
    """
    name = request.param
    layer = "features" if name == "squeezenet1_1" else None
    known = name != "a small network"
    classifier = load_classifier(f"torchvision:{name}", "random:0", size=64, layer=layer) if known else small("pooled")
    last = [part for part in classifier.module.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight.mul_(1e4)
    head = certify(classifier)
    assert head.kind == NETWORKS[name]
    return classifier, head


@pytest.mark.parametrize(
    ("method", "peer_name"),
    [
        (GradCAMPlusPlus, "GradCAMPlusPlus"),
        (XGradCAM, "XGradCAM"),
        (HiResCAM, "HiResCAM"),
        (LayerCAM, "LayerCAM"),
    ],
)
def test_pytorch_grad_cam_gives_the_same_maps(
    network: tuple[Classifier, Head],
    method: type[WeightedActivations],
    peer_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without its scaling of maps to 0..1 and the image's size; it drops what is negative in any map.

    Its Eigen-CAMs centre the positions, which the paper does not: those have an oracle instead.
    """
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    monkeypatch.setattr(package.base_cam, "scale_cam_image", lambda maps, _size=None: np.float32(maps))
    classifier, head = network
    monkeypatch.setattr(engine, "certify", lambda _classifier: head)
    # Bright, for the same reason as the network is steep.
    images = inputs(2, classifier.preprocessing.fit.size) * 1e3
    with getattr(package, peer_name)(classifier.module, [classifier.target_layer]) as peer:
        rows = [peer(images, [targets.ClassifierOutputTarget(index) for index in ids]) for ids in CLASS_IDS.T.tolist()]
    expected = torch.stack([torch.from_numpy(row) for row in rows], dim=1)
    assert_alike(maps_of(method, classifier, images, CLASS_IDS).relu(), expected)
