"""Segmentation networks: built, asked, saved; their loss against plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from audit.errors import ModelError
from audit.images import Fit
from audit.models import Preprocessing, save_checkpoint
from audit.models.segmenters import (
    Segmenter,
    build_segmenter,
    load_backbone,
    load_segmenter,
    load_weights,
    save_segmenter,
    segment,
    segmentation_loss,
)
from audit.models.small import build, preprocessing

PYRAMID = "fpn:audit.models.small:build"
CLASSES = ("red", "blue")


def segmenter(size: int = 32, arch: str = "unet") -> Segmenter:
    return Segmenter(build_segmenter(arch, 2).eval(), CLASSES, Preprocessing(Fit(size, "letterbox")))


@pytest.mark.parametrize("arch", ["unet", PYRAMID, "torchvision:lraspp_mobilenet_v3_large"])
def test_a_network_gives_logits_of_background_and_classes_at_the_input_s_size(arch: str) -> None:
    module = build_segmenter(arch, 4).eval()
    assert segment(module, torch.zeros(2, 3, 40, 56)).shape == (2, 5, 40, 56)


@pytest.mark.parametrize("arch", ["unet", PYRAMID])
@pytest.mark.parametrize("size", [(1, 1), (3, 64), (64, 5)])
def test_thin_images_are_taken_too(arch: str, size: tuple[int, int]) -> None:
    assert segment(build_segmenter(arch, 2).eval(), torch.zeros(1, 3, *size)).shape == (1, 3, *size)


def test_the_same_seed_builds_the_same_network_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    modules = [build_segmenter("unet", 2, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    heads = [module.state_dict()["head.weight"] for module in modules]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_loss_is_that_of_the_formula_without_what_is_not_known() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5))
    masks = rng.choice([0, 1, 2, 255], (2, 4, 5))
    weights = [0.25, 1.0]
    total = count = 0.0
    for b in range(2):
        for y in range(4):
            for x in range(5):
                if masks[b, y, x] != 255:
                    z = logits[b, :, y, x]
                    total += weights[b] * (math.log(sum(math.exp(v) for v in z)) - z[masks[b, y, x]])
                    count += weights[b]
    loss = segmentation_loss(torch.tensor(logits), torch.tensor(masks), torch.tensor(weights, dtype=torch.float64))
    assert loss.item() == pytest.approx(total / count)


def test_pixels_that_are_not_known_move_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    masks = torch.full((1, 4, 4), 255)
    masks[0, 0, 0] = 1
    segmentation_loss(logits, masks, torch.ones(1)).backward()
    assert logits.grad is not None
    moved = logits.grad.abs().sum(1)[0] > 0
    assert moved[0, 0]
    assert moved.sum() == 1


def test_a_batch_of_which_nothing_is_known_has_no_loss() -> None:
    assert segmentation_loss(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), 255), torch.ones(1)).item() == 0


class Halves(nn.Module):
    """Sure of class 0 in the left half, of class 1 in the right, whatever the image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = images.new_zeros(len(images), 3, 4, 4)
        logits[:, 1, :, :2] = 4
        logits[:, 2, :, 2:] = 4
        return logits * (1 + 0 * images.mean())


class Asked(Halves):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))


def test_a_mask_lies_on_the_whole_image_at_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((30, 50, 3), np.uint8)
    network = Segmenter(Asked().eval(), CLASSES, Preprocessing(Fit(40, "letterbox")))
    index, sure = network.mask(image)
    assert index.shape == sure.shape == (30, 50)
    assert (index[:, :24] == 1).all()
    assert (index[:, 26:] == 2).all()
    assert network.probabilities(image).shape == (3, 24, 40)
    expected = math.exp(4) / (math.exp(4) + 2)
    assert sure[0, 0] == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr("audit.models.segmenters._STRIP", 200)
    strips = network.mask(image)
    np.testing.assert_array_equal(strips[0], index)
    np.testing.assert_allclose(strips[1], sure, rtol=1e-6)


def test_among_some_classes_probabilities_are_given_that_there_is_no_other() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    network = Segmenter(Asked().eval(), CLASSES, Preprocessing(Fit(40, "letterbox")))
    index, sure = network.mask(image, among=[0])
    assert (index[:, :18] == 1).all()
    assert sure[:, :10] == pytest.approx(math.exp(4) / (math.exp(4) + 1), rel=1e-5)
    assert sure[:, 30:] == pytest.approx(0.5, rel=1e-5)
    assert set(np.unique(network.mask(image, among=[])[0])) == {0}


@pytest.mark.parametrize("arch", ["unet", PYRAMID])
def test_a_checkpoint_gives_the_same_masks(arch: str, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 32, 3), np.uint8)
    network = segmenter(arch=arch)
    save_segmenter(tmp_path / "s.pt", network, arch)
    loaded = load_segmenter(tmp_path / "s.pt")
    assert loaded.classes == CLASSES
    assert loaded.preprocessing == network.preprocessing
    np.testing.assert_array_equal(loaded.mask(image)[0], network.mask(image)[0])


def test_a_checkpoint_that_names_someone_s_code_is_refused(tmp_path: Path) -> None:
    save_segmenter(tmp_path / "s.pt", segmenter(), "fpn:mine:build")
    with pytest.raises(ModelError, match=r"asks to run 'fpn:mine:build'; if you trust that code, allow it with --arch"):
        load_segmenter(tmp_path / "s.pt")
    with pytest.raises(ModelError, match="Cannot import 'mine'"):
        load_segmenter(tmp_path / "s.pt", "fpn:mine:build")


def test_a_classifier_is_no_segmentation_network(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", build(2), "audit.models.small:build", CLASSES, preprocessing(32), "softmax")
    with pytest.raises(ModelError, match="Expected a segmentation network of camaudit distill"):
        load_segmenter(tmp_path / "c.pt")


def test_a_pyramid_on_a_transformer_is_refused(tmp_path: Path) -> None:
    lines = ["from torch import nn", "class Tokens(nn.Module):", "    def forward(self, x): return x.flatten(2).mT", ""]
    build_it = "def build(count): return nn.Sequential(nn.Conv2d(3, 8, 32, 32), Tokens(), nn.LayerNorm(8))"
    (tmp_path / "tokens.py").write_text("\n".join([*lines, build_it, ""]))
    with pytest.raises(ModelError, match="Expected a convolutional classifier below a feature pyramid"):
        build_segmenter(f"fpn:{tmp_path}/tokens.py:build", 2)


def test_the_classifier_below_a_network_starts_from_its_checkpoint(tmp_path: Path) -> None:
    classifier, arch = build(7, seed=3), "audit.models.small:build"
    save_checkpoint(tmp_path / "c.pt", classifier, arch, tuple("abcdefg"), preprocessing(32), "softmax")
    module = build_segmenter(PYRAMID, 2, seed=1)
    load_backbone(module, str(tmp_path / "c.pt"))
    trained = classifier.state_dict()
    encoder = module.get_submodule("encoder").state_dict()
    assert encoder
    for name, value in encoder.items():
        torch.testing.assert_close(value, trained[name])


def test_torchvision_s_backbone_starts_from_torchvision_s_classifier(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v3_large

    classifier = mobilenet_v3_large(num_classes=3)
    torch.save(classifier.state_dict(), tmp_path / "m.pt")
    module = build_segmenter("torchvision:lraspp_mobilenet_v3_large", 2)
    load_backbone(module, str(tmp_path / "m.pt"))
    first = classifier.state_dict()["features.0.0.weight"]
    torch.testing.assert_close(module.state_dict()["backbone.0.0.weight"], first)


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    torch.save(build(2).state_dict(), tmp_path / "c.pt")
    with pytest.raises(ModelError, match="layers for --backbone-weights, got UNet"):
        load_backbone(build_segmenter("unet", 2), str(tmp_path / "c.pt"))
    with pytest.raises(ModelError, match=r"The weights in .*c\.pt do not fit UNet: [^\n]*$"):
        load_weights(build_segmenter("unet", 2), str(tmp_path / "c.pt"))
    torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "l.pt")
    with pytest.raises(ModelError, match=r"below the network, features\.0\.0\.weight is not there"):
        load_backbone(build_segmenter(PYRAMID, 2), str(tmp_path / "l.pt"))


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("resnet18", "Expected unet, torchvision:NAME, fpn:ARCH or module:function as network, got 'resnet18'"),
        ("torchvision:resnet18", "torchvision has no segmentation network 'resnet18'; it has deeplabv3"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(arch: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_segmenter(arch, 2)
