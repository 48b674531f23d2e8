"""Zero-shot classifiers by `clip:NAME`: words as classes, prompts averaged, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import RESNET, SIDE, TIMM, VIT, save_clip
from torch import Tensor

from audit.attribution import GradCAM
from audit.attribution.sanity import layers_in_order
from audit.errors import ModelError
from audit.models import Classifier, ModelSpec, build_architecture, load_classifier, weights_fingerprint
from audit.trusted import absolute_name, is_code

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
WORDS = ("disc", "traffic_light", "a box of eggs")
PROMPTS = ("a photo of a {}.", "a drawing of the {}", "{}")
TOWERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "ViT": (VIT, {}, "general"),
    "ViT that averages its tokens": ({**VIT, "pool_type": "avg"}, {}, "general"),
    "ResNet with attention pooling": (RESNET, {}, "general"),
    "ResNet of timm": (TIMM, {}, "pooled"),
}


@pytest.fixture(scope="module", params=TOWERS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Classifier, str]:
    """A folder with a tiny CLIP, the classifier of three words by it, and the kind of its head."""
    tower, more, head = TOWERS[request.param]
    folder = save_clip(tmp_path_factory.mktemp("clip"), tower, **more)
    return folder, load_classifier(f"clip:{folder}", classes=WORDS, prompts=PROMPTS), head


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("vit"))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def refused(*arguments: Any, **options: Any) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        load_classifier(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@torch.no_grad()
def zero_shot(folder: Path, images: Tensor, words: tuple[str, ...], prompts: tuple[str, ...]) -> Tensor:
    """Logits [B, words] word by word and prompt by prompt, by open_clip's own towers."""
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    seen = model.encode_image(images, normalize=True)
    columns = []
    for word in words:
        rows = [model.encode_text(tokenizer([prompt.replace("{}", word)]), normalize=True)[0] for prompt in prompts]
        mean = sum(rows) / len(rows)
        cosine = torch.stack([torch.dot(one, mean / mean.norm()) for one in seen])
        bias = 0.0 if model.logit_bias is None else float(model.logit_bias)
        columns.append(cosine * float(model.logit_scale.exp()) + bias)
    return torch.stack(columns, dim=1)


def test_logits_are_the_scaled_cosines_with_the_mean_of_each_words_prompts(
    loaded: tuple[Path, Classifier, str], images: Tensor
) -> None:
    folder, classifier, _ = loaded
    spoken = tuple(word.replace("_", " ") for word in WORDS)
    with torch.inference_mode():
        found = classifier.module(images)
    torch.testing.assert_close(found, zero_shot(folder, images, spoken, PROMPTS), rtol=1e-4, atol=1e-4)


def test_with_one_prompt_logits_are_open_clips_own(folder: Path, images: Tensor) -> None:
    classifier = load_classifier(f"clip:{folder}", classes=("disc", "box"), prompts=("a {}",))
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    text = open_clip.get_tokenizer(f"local-dir:{folder}")(["a disc", "a box"])
    with torch.inference_mode():
        expected = model.get_logits(images, text)[0]
        torch.testing.assert_close(classifier.module(images), expected, rtol=1e-4, atol=1e-4)
    assert classifier.activation == "softmax"
    assert classifier.details == {"words": ["disc", "box"], "prompts": ["a {}"]}


def test_a_model_trained_with_a_sigmoid_keeps_its_bias_and_its_activation(tmp_path: Path, images: Tensor) -> None:
    folder = save_clip(tmp_path / "siglip", init_logit_bias=-10.0)
    classifier = load_classifier(f"clip:{folder}", classes=("disc", "box"), prompts=("a {}",))
    with torch.inference_mode():
        found = classifier.module(images)
    torch.testing.assert_close(found, zero_shot(folder, images, ("disc", "box"), ("a {}",)), rtol=1e-4, atol=1e-4)
    assert classifier.activation == "sigmoid"


def test_maps_are_those_of_hooks_and_autograd(loaded: tuple[Path, Classifier, str], images: Tensor) -> None:
    _, classifier, head = loaded
    kept: list[Tensor] = []
    handle = classifier.target_layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    outputs = classifier.module(images.clone().requires_grad_())
    handle.remove()
    with GradCAM(classifier) as explain:
        maps, _ = explain(images, torch.tensor([[0, 1, 2]] * 2))
        assert explain.head == head
        grid = explain.grid
    for class_id in range(3):
        (slopes,) = torch.autograd.grad(outputs[:, class_id].sum(), kept[0], retain_graph=True)
        activation = kept[0].detach()
        if activation.ndim == 3:  # tokens, the class token first
            slopes, activation = (part[:, 1:].mT.unflatten(2, grid) for part in (slopes, activation))
        expected = (slopes.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).relu()
        torch.testing.assert_close(maps[:, class_id], expected, rtol=1e-3, atol=1e-4 * float(maps.amax()))


def test_inputs_are_those_of_open_clips_transform(folder: Path) -> None:
    model = open_clip.create_model(f"local-dir:{folder}")
    stated = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    transform = open_clip.transform.image_transform_v2(stated, is_train=False)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)
    preprocessing = load_classifier(f"clip:{folder}", classes=WORDS).preprocessing
    found = preprocessing.normalise(np.stack([preprocessing.fit(pixels)[0]]))[0]
    torch.testing.assert_close(found, transform(Image.fromarray(pixels)), rtol=1e-5, atol=1e-5)


def test_words_may_be_more_than_the_data_sets_classes(folder: Path) -> None:
    classifier = load_classifier(f"clip:{folder}", classes=("box", "disc"))
    assert classifier.mapping.outputs == ((0,), (1,))
    wider = load_classifier(ModelSpec(f"clip:{folder}", classes=("disc", "ring", "box")), classes=("box", "disc"))
    assert wider.mapping.outputs == ((2,), (0,))
    assert wider.details["words"] == ["disc", "ring", "box"]


def test_the_fingerprint_tells_words_prompts_and_weights_apart_and_nothing_else(folder: Path) -> None:
    def fingerprint(classes: tuple[str, ...] = WORDS, weights: str | None = None, **options: Any) -> str:
        return weights_fingerprint(load_classifier(f"clip:{folder}", weights, classes=classes, **options).module)

    first = fingerprint()
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)  # as a worker has other threads than the driver
    again = fingerprint()
    torch.set_num_threads(before)
    assert first == again
    others = {fingerprint(("disc", "box")), fingerprint(prompts=("{}",)), fingerprint(weights="random:0")}
    assert len(others | {first}) == 4


def test_a_name_of_open_clip_takes_weights_of_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Tensor
) -> None:
    known = tmp_path / "tiny-clip.json"
    known.write_text(json.dumps(json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    open_clip.add_model_config(known)
    weights = str(folder / "open_clip_pytorch_model.bin")
    found = load_classifier("clip:tiny-clip", weights, classes=WORDS).module
    with torch.inference_mode():
        torch.testing.assert_close(found(images), load_classifier(f"clip:{folder}", classes=WORDS).module(images))


def test_what_cannot_be_asked_is_refused(folder: Path, tmp_path: Path) -> None:
    assert f"Expected words for clip:{folder}: data with classes, or --classes" in refused(f"clip:{folder}")
    assert "Expected a place for the word, {}, in every prompt, got 'a photo'" in refused(
        f"clip:{folder}", classes=WORDS, prompts=("a photo",)
    )
    assert "Expected --weights for clip:ViT-B-32: openai, " in refused("clip:ViT-B-32", classes=WORDS)
    assert "got nonsense" in refused("clip:ViT-B-32", "nonsense", classes=WORDS)
    (tmp_path / "open_clip_config.json").write_text((folder / "open_clip_config.json").read_text())
    assert f"Cannot load clip:{tmp_path}: " in refused(f"clip:{tmp_path}", classes=WORDS)
    assert "Expected no --prompts for torchvision:resnet18" in refused(
        "torchvision:resnet18", "random:0", prompts=("{}",)
    )
    with pytest.raises(ModelError, match="which is asked by words"):
        build_architecture("clip:ViT-B-32", 3)


def test_a_folder_of_weights_is_no_code_and_is_recorded_by_its_absolute_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert absolute_name(f"clip:{folder.name}") == f"clip:{folder}"
    assert not is_code(f"clip:{folder}")


def test_the_words_are_the_last_layer_and_are_randomised_first(folder: Path) -> None:
    classifier = load_classifier(f"clip:{folder}", classes=WORDS)
    assert layers_in_order(classifier.module, classifier.example())[-1] == "words"
