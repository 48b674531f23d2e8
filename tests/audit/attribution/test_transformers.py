"""Methods for transformers: attention found and made explicit, LeGrad, rollout with gradients, AttnLRP, by oracles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_clip
import tiny_transformers
import torch
import vit_oracle
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import SwinTransformer, get_model

from audit.attribution import METHODS, AttnLRP, GradientRollout, LeGrad, make_method
from audit.attribution.methods.attention import ExplicitAttention
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images import Fit
from audit.models import Classifier, Preprocessing, load_classifier, weights_fingerprint

SIDE = 64
OURS = ("legrad", "gradient-rollout", "attnlrp")
VIT: dict[str, Any] = {"img_size": SIDE, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 2}


def of(module: nn.Module, layer: str = "", outputs: int = 10) -> Classifier:
    mapping = ClassMapping(tuple(map(str, range(outputs))), tuple((index,) for index in range(outputs)))
    return Classifier(module.eval().requires_grad_(False), Preprocessing(Fit(SIDE)), mapping, layer)


def of_timm(_folder: Path, **options: Any) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = pytest.importorskip("timm").create_model("vit_tiny_patch16_224", num_classes=10, **VIT, **options)
    return of(made)


def of_transformers(folder: Path, family: str) -> Classifier:
    return load_classifier(f"hf:{tiny_transformers.save_family(tiny_transformers.FAMILIES[family], folder)}")


NETWORKS: dict[str, Any] = {
    "torchvision": lambda folder: of(vit_oracle.build()),
    "timm": of_timm,
    "timm, averaged": lambda folder: of_timm(folder, global_pool="avg", class_token=False),
    "timm, registers": lambda folder: of_timm(folder, reg_tokens=4),
    "open_clip": lambda folder: load_classifier(f"clip:{tiny_clip.save_clip(folder)}", classes=("disc", "box", "bar")),
    **{
        f"transformers, {name}": lambda folder, name=name: of_transformers(folder, name)
        for name in ("ViT", "DeiT", "BEiT", "DINOv2", "SigLIP")
    },
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return NETWORKS[request.param](tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def vit() -> Classifier:
    return of(vit_oracle.build())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def cosine(found: Tensor, expected: Tensor) -> float:
    return float(F.cosine_similarity(found.double().flatten(), expected.double().flatten(), dim=0))


def test_explicit_attention_gives_what_the_network_gives_and_rows_that_add_up_to_one(
    network: Classifier, images: Tensor
) -> None:
    looked: list[Tensor] = []

    def look(attention: Tensor) -> Tensor:
        looked.append(attention)
        return attention

    with torch.inference_mode():
        plain = network.module(images)
        with ExplicitAttention(look):
            explicit = network.module(images)
    torch.testing.assert_close(explicit, plain, rtol=1e-4, atol=1e-5)
    assert sum(attention.shape[-2] > 1 for attention in looked) == 3  # SigLIP's pools besides
    for attention in looked:
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(attention.shape[:-1]))


@pytest.mark.parametrize("name", OURS)
def test_maps_say_what_a_method_says_whatever_the_batch_and_leave_the_network_as_it_came(
    network: Classifier, images: Tensor, name: str
) -> None:
    before, switches = weights_fingerprint(network.module), [p.requires_grad for p in network.module.parameters()]
    with make_method(name, network) as explain:
        maps, logits = explain(images, torch.tensor([[0, 2, -1], [1, -1, 2]]))
        alone, _ = explain(images[1:], torch.tensor([[2]]))
        assert maps.shape == (2, 3, *explain.grid)
    with torch.inference_mode():
        torch.testing.assert_close(logits, network.class_logits(network.module(images)), rtol=1e-4, atol=1e-5)
    assert maps[0, 2].isnan().all()
    assert maps[1, 1].isnan().all()
    assert maps[0, :2].abs().amax(dim=(1, 2)).min() > 0
    torch.testing.assert_close(maps[1, 2], alone[0, 0], rtol=1e-3, atol=1e-4 * float(alone.abs().max()))
    assert not torch.equal(maps[0, 0], maps[0, 1])
    assert weights_fingerprint(network.module) == before
    assert [p.requires_grad for p in network.module.parameters()] == switches
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.module.modules())


@pytest.mark.parametrize(("layers", "readout"), [(0, "head"), (2, "mean"), (1, "head")])
def test_legrad_is_that_of_plain_steps(vit: Classifier, images: Tensor, layers: int, readout: str) -> None:
    with LeGrad(vit, layers=layers, readout=readout) as explain:
        maps, _ = explain(images, torch.tensor([[0, 7], [3, 4]]))
    for row, ids in enumerate(([0, 7], [3, 4])):
        for slot, class_id in enumerate(ids):
            expected = vit_oracle.legrad(vit.module, images[row], class_id, layers, readout == "mean")
            torch.testing.assert_close(maps[row, slot], expected, rtol=1e-3, atol=1e-6)


def test_rollout_is_that_of_whole_matrices(vit: Classifier, images: Tensor) -> None:
    with GradientRollout(vit) as explain:
        maps, _ = explain(images, torch.tensor([[0, 7], [3, 4]]))
    for row, ids in enumerate(([0, 7], [3, 4])):
        for slot, class_id in enumerate(ids):
            expected = vit_oracle.rollout(vit.module, images[row], class_id)
            torch.testing.assert_close(maps[row, slot], expected, rtol=1e-3, atol=1e-6)


def test_where_tokens_are_averaged_rollout_weights_their_rows_alike(images: Tensor) -> None:
    network = of_timm(Path(), global_pool="avg", class_token=False, fc_norm=True)
    with GradientRollout(network) as explain:
        maps, _ = explain(images[:1], torch.tensor([[4]]))
        attentions, tokens, outputs = explain._run(images[:1])
        slopes = torch.autograd.grad(outputs[0, 4], [tokens, *attentions])
    relevance = torch.eye(16)
    for attention, slope in zip(attentions, slopes[1:], strict=True):
        relevance = relevance + (attention.detach()[0] * slope[0]).clamp(min=0).mean(dim=0) @ relevance
    expected = (relevance - torch.eye(16)).mean(dim=0).view(4, 4)
    torch.testing.assert_close(maps[0, 0], expected, rtol=1e-3, atol=1e-8)


def test_attnlrp_without_gamma_is_relevance_propagated_rule_by_rule(vit: Classifier, images: Tensor) -> None:
    double = vit_oracle.build().double()
    with AttnLRP(vit, gamma=0.0, conv_gamma=0.0) as explain:
        maps, _ = explain(images, torch.tensor([[0, 7], [3, 4]]))
    for row, ids in enumerate(([0, 7], [3, 4])):
        for slot, class_id in enumerate(ids):
            expected = vit_oracle.attnlrp(double, images[row].double(), class_id)
            assert cosine(maps[row, slot], expected) > 0.9999
            near = {"rtol": 1e-2, "atol": 1e-3 * float(expected.abs().max())}
            torch.testing.assert_close(maps[row, slot].double(), expected, **near)


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(3, 4, 3, 2, 1)])
@pytest.mark.parametrize("gamma", [0.05, 0.25, 3.0])
def test_the_gamma_rule_is_zennits(layer: nn.Module, gamma: float) -> None:
    rules = pytest.importorskip("zennit.rules", reason="zennit is not installed")
    from audit.attribution.methods.relevance import by_gamma

    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, *((6,) if isinstance(layer, nn.Linear) else (3, 8, 8)), generator=generator).double()
    layer = layer.double()
    function = (
        F.linear if isinstance(layer, nn.Linear) else lambda x, w, b: F.conv2d(x, w, b, layer.stride, layer.padding)
    )
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    output = by_gamma(function, ours, layer.weight.detach(), layer.bias.detach(), gamma)
    relevance = torch.randn(output.shape, generator=generator).double()
    (slope,) = torch.autograd.grad(output, ours, relevance / output.detach())
    handle = rules.Gamma(gamma).register(layer)
    (expected,) = torch.autograd.grad(layer(theirs), theirs, relevance)
    handle.remove()
    torch.testing.assert_close(values * slope, expected, rtol=1e-4, atol=1e-6)


def test_attention_within_windows_has_no_rollout_but_relevance(images: Tensor) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        swin = of(SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=10))
    for method in (LeGrad, GradientRollout):
        with pytest.raises(ModelError, match=r"attends over all of its grid for --method .*, found 0 such blocks"):
            method(swin)
    with AttnLRP(swin) as explain:
        assert explain(images, torch.tensor([[0], [1]]))[0].abs().amax() > 0


@pytest.mark.parametrize("name", OURS)
def test_fused_attention_and_a_softmax_of_scores_are_explained_alike(images: Tensor, tmp_path: Path, name: str) -> None:
    network = of_transformers(tmp_path, "ViT")
    maps = []
    for kind in ("sdpa", "eager"):
        network.module.get_submodule("network").set_attn_implementation(kind)
        with make_method(name, network) as explain:
            maps.append(explain(images, torch.tensor([[0, 2], [1, 3]]))[0])
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-3, atol=1e-4 * float(maps[0].abs().max()))


def test_networks_without_attention_are_refused() -> None:
    network = of(get_model("resnet18", weights=None, num_classes=10), "layer4")
    for name in OURS:
        with pytest.raises(ModelError, match=f"for --method {name}"):
            make_method(name, network)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("legrad", {"layers": -1}, "`layers` of at least 0, got -1"),
        ("legrad", {"readout": "all"}, "`readout` to be one of head, mean, got 'all'"),
        ("attnlrp", {"gamma": -0.1}, "a gamma of at least 0, got -0.1"),
    ],
)
def test_options_that_cannot_be_are_refused(vit: Classifier, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_method(name, vit, options=options)


def test_maps_go_on_with_images_of_another_size_where_the_network_does(images: Tensor, tmp_path: Path) -> None:
    network = of_transformers(tmp_path, "DINOv2")
    larger = F.interpolate(images, (96, 96))
    for name in ("legrad", "gradient-rollout"):
        with make_method(name, network) as explain:
            assert explain(larger, torch.tensor([[0], [1]]))[0].shape == (2, 1, 6, 6)
    assert {*OURS} <= METHODS.keys()
