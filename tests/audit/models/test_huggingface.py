"""Classifiers of transformers by `hf:NAME`: ten families by tiny configurations, and what is refused in one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_transformers import FAMILIES, LABELS, SIDE, Family, save_family
from torch import Tensor

from audit.attribution import GradCAM
from audit.errors import ModelError
from audit.models import Classifier, build_architecture, load_classifier, weights_fingerprint

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
VIT = FAMILIES["ViT"]


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Path, Classifier]:
    """A family, the folder that holds it, and what `hf:FOLDER` makes of that."""
    family = FAMILIES[request.param]
    folder = save_family(family, tmp_path_factory.mktemp("hub"))
    return family, folder, load_classifier(f"hf:{folder}")


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """A folder with a ViT, for tests that change it."""
    return save_family(VIT, tmp_path / "vit")


def refused(*arguments: Any, **options: Any) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        load_classifier(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def photograph(height: int, width: int) -> np.ndarray:
    """A smooth image with a few edges, as photographs have them."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width) * 6
    image = np.stack([128 + 90 * np.sin(x * k + y) * np.cos(y * k) for k in (1, 2, 3)], axis=2)
    image[height // 3 : height // 2, width // 4 : width // 2] += 30
    return image.clip(0, 255).astype(np.uint8)


def plain_gradcam(classifier: Classifier, family: Family, images: Tensor, class_id: int) -> Tensor:
    """Grad-CAM [B, h, w] by hooks and autograd over the whole network, cell by cell as the family's table lays them."""
    kept: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    handle = classifier.target_layer.register_forward_hook(keep)
    outputs = classifier.module(images.clone().requires_grad_())
    handle.remove()
    (slopes,) = torch.autograd.grad(outputs[:, class_id].sum(), kept[0])
    activation = kept[0].detach()
    if family.prefix is None:
        return (slopes.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).relu()
    cells = range(family.prefix, family.prefix + family.side**2)
    weights = sum(slopes[:, cell] for cell in cells) / len(cells)
    heat = torch.stack([(weights * activation[:, cell]).sum(dim=1) for cell in cells], dim=1).relu()
    return heat.view(len(images), family.side, family.side)


def test_layer_labels_and_grid_are_found(loaded: tuple[Family, Path, Classifier]) -> None:
    family, _, classifier = loaded
    assert classifier.layer == f"network.{family.layer}"
    assert classifier.classes == LABELS
    assert GradCAM(classifier).grid == (family.side, family.side)


def test_outputs_are_the_logits_that_transformers_gives_after_its_own_preprocessing(
    loaded: tuple[Family, Path, Classifier],
) -> None:
    family, folder, classifier = loaded
    image = photograph(90, 130)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    theirs = processor(image, return_tensors="pt")
    with torch.inference_mode():
        expected = network(**theirs).logits
        # Theirs has the colours in the network's order already: the wrapped module turns them round itself.
        pixels = theirs["pixel_values"].flip(1) if family.name == "MobileViT" else theirs["pixel_values"]
        torch.testing.assert_close(classifier.module(pixels), expected)
        ours = classifier.module(classifier.preprocessing.normalise(np.stack([classifier.preprocessing.fit(image)[0]])))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(90, 130), (211, 97), (64, 64), (78, 300), (401, 399)])
def test_inputs_are_the_image_processors(loaded: tuple[Family, Path, Classifier], size: tuple[int, int]) -> None:
    family, folder, classifier = loaded
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)  # where kernels differ the most
    expected = processor(image, return_tensors="pt")["pixel_values"]
    expected = expected.flip(1) if family.name == "MobileViT" else expected
    fit, std = classifier.preprocessing.fit, classifier.preprocessing.std
    found = classifier.preprocessing.normalise(np.stack([fit(image)[0]]))
    assert found.shape == expected.shape == (1, 3, SIDE, SIDE)
    levels = (found - expected).abs() * torch.tensor(std).view(3, 1, 1) * 255
    assert levels.max() < 0.01


def test_maps_are_those_of_hooks_and_autograd(loaded: tuple[Family, Path, Classifier]) -> None:
    family, _, classifier = loaded
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(len(LABELS)).expand(2, -1)
    with GradCAM(classifier) as explain:
        maps, _ = explain(images, ids)
    assert maps.amax() > 0
    for class_id in range(len(LABELS)):
        expected = plain_gradcam(classifier, family, images, class_id)
        torch.testing.assert_close(maps[:, class_id], expected, rtol=1e-3, atol=1e-4 * float(maps.amax()))


def test_random_weights_follow_from_their_seed_and_differ_from_the_trained(vit: Path) -> None:
    trained = weights_fingerprint(load_classifier(f"hf:{vit}").module)
    first, again, other = (
        weights_fingerprint(load_classifier(f"hf:{vit}", f"random:{seed}").module) for seed in (0, 0, 1)
    )
    assert len({trained, first, other}) == 3
    assert first == again


def test_weights_may_come_from_a_file_also_for_another_number_of_classes(vit: Path, tmp_path: Path) -> None:
    fine_tuned = build_architecture(f"hf:{vit}", 3)
    torch.save(fine_tuned.state_dict(), tmp_path / "tuned.pt")
    classifier = load_classifier(f"hf:{vit}", str(tmp_path / "tuned.pt"), classes=("a", "b", "c"))
    assert weights_fingerprint(classifier.module) == weights_fingerprint(fine_tuned)
    assert classifier.classes == ("a", "b", "c")


def test_stand_in_labels_are_no_names(tmp_path: Path) -> None:
    folder = save_family(VIT, tmp_path / "plain", tuple(f"LABEL_{index}" for index in range(4)))
    assert load_classifier(f"hf:{folder}").classes == ("class 0", "class 1", "class 2", "class 3")


def test_positions_are_interpolated_for_another_size(vit: Path) -> None:
    assert GradCAM(load_classifier(f"hf:{vit}", size=96)).grid == (6, 6)


def test_code_beside_the_weights_is_never_run(vit: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    (vit / "evil.py").write_text(f"open({str(touched)!r}, 'w')\nclass Evil: ...\n")
    for name in ("config.json", "preprocessor_config.json"):
        record = json.loads((vit / name).read_text())
        record["auto_map"] = {
            "AutoConfig": "evil.Evil",
            "AutoImageProcessor": "evil.Evil",
            "AutoModelForImageClassification": "evil.Evil",
        }
        (vit / name).write_text(json.dumps(record))
    load_classifier(f"hf:{vit}")
    record = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps(record | {"model_type": "evil"}))
    assert refused(f"hf:{vit}").startswith(f"Cannot load hf:{vit} from the folder: ")
    assert not touched.exists()


class Trap:
    """Its pickle would touch a file when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_a_pickle_in_the_place_of_weights_is_refused_and_does_not_run(vit: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    (vit / "model.safetensors").unlink()
    (vit / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Trap(touched)}, protocol=2))
    assert refused(f"hf:{vit}").startswith(f"Cannot load hf:{vit} from the folder: ")
    assert not touched.exists()


def test_a_network_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**VIT.config, num_labels=3)
    transformers.ViTModel(config).save_pretrained(tmp_path / "trunk")
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "trunk")
    assert "to be an image classifier" not in (line := refused(f"hf:{tmp_path / 'trunk'}"))
    assert "Expected a trained classifier in hf:" in line
    assert "it has no classifier" in line


def test_what_is_no_image_classifier_is_refused(tmp_path: Path) -> None:
    transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path)
    line = refused(f"hf:{tmp_path}")
    assert f"Expected hf:{tmp_path} to be an image classifier, " in line
    assert line.endswith("of transformers, got bert")


def test_a_name_that_the_hub_cannot_give_is_refused_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "Cannot load hf:no-such/model from the hub, or a folder here: " in refused("hf:no-such/model")


def test_an_image_processor_that_cannot_be_reproduced_is_refused_unless_all_is_stated(vit: Path) -> None:
    record = json.loads((vit / "preprocessor_config.json").read_text())
    (vit / "preprocessor_config.json").write_text(json.dumps(record | {"resample": 1}))
    assert "cannot be reproduced (it interpolates by Pillow's filter 1); state it all with --fit" in refused(
        f"hf:{vit}"
    )
    half = (0.5, 0.5, 0.5)
    stated = load_classifier(f"hf:{vit}", mode="squash", size=SIDE, mean=half, std=half)
    assert (stated.preprocessing.fit.mode, stated.preprocessing.mean) == ("squash", half)


def test_a_processor_whose_fields_say_something_else_than_it_does_is_refused(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = transformers.ViTImageProcessor
    plain = kind._preprocess

    def mirrored(self: Any, images: list[Tensor], **options: Any) -> Any:
        return plain(self, [image.flip(-1) for image in images], **options)

    monkeypatch.setattr(kind, "_preprocess", mirrored)
    assert "inputs would differ by" in refused(f"hf:{vit}")
