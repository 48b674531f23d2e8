"""Models: where they come from, what is refused in one line, and how outputs become a data set's classes."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import get_model

from audit.datasets.classes import VOC_CLASSES, ClassMapping
from audit.errors import ModelError
from audit.images.views import Fit
from audit.models import (
    Classifier,
    ModelSpec,
    Preprocessing,
    build_architecture,
    find_target_layer,
    load_classifier,
    save_checkpoint,
    weights_fingerprint,
)

SMALL = "audit.models.small:build"
SQUEEZENET = "torchvision:squeezenet1_1"
BUILDER = """
import torch
from torch import nn

def build(outputs=5):
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, outputs))

def not_a_module():
    return 7

def broken():
    raise OSError("no disk")
"""


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    """A file with functions that build modules, or fail to."""
    path = tmp_path / "networks.py"
    path.write_text(BUILDER)
    return path


def save_state(path: Path, module: nn.Module, prefix: str = "") -> str:
    torch.save({prefix + name: value for name, value in module.state_dict().items()}, path)
    return str(path)


def refused(*arguments: Any, **options: Any) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        load_classifier(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def with_groups(groups: list[list[int]], activation: str = "softmax") -> Classifier:
    mapping = ClassMapping(tuple(f"class {i}" for i in range(len(groups))), tuple(map(tuple, groups)))
    return Classifier(nn.Identity(), Preprocessing(Fit(8)), mapping, "", activation)


def test_a_torchvision_model_takes_a_state_dict_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = get_model("squeezenet1_1", weights=None)
    classifier = load_classifier(SQUEEZENET, save_state(tmp_path / "weights.pth", module), classes="voc")
    assert weights_fingerprint(classifier.module) == weights_fingerprint(module)
    assert not classifier.module.training
    assert classifier.classes == VOC_CLASSES
    assert classifier.preprocessing == Preprocessing(Fit(224, "crop", 256))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_with_another_head_size_rebuild_the_model_for_it(tmp_path: Path, prefix: str) -> None:
    module = get_model("squeezenet1_1", weights=None, num_classes=20)
    path = save_state(tmp_path / "weights.pth", module, prefix)
    classifier = load_classifier(SQUEEZENET, path, classes="voc", size=64, activation="sigmoid")
    assert weights_fingerprint(classifier.module) == weights_fingerprint(module)
    assert classifier.mapping.outputs == tuple((index,) for index in range(20))
    assert classifier.activation == "sigmoid"


def test_a_state_dict_may_lie_under_a_key_of_its_own(tmp_path: Path) -> None:
    module = get_model("squeezenet1_1", weights=None)
    torch.save({"epoch": 3, "state_dict": module.state_dict()}, tmp_path / "weights.pt")
    classifier = load_classifier(SQUEEZENET, str(tmp_path / "weights.pt"))
    assert weights_fingerprint(classifier.module) == weights_fingerprint(module)


@pytest.mark.parametrize("model", ["torchvision:shufflenet_v2_x0_5", "torchvision:swin_t", SMALL])
def test_random_weights_follow_from_their_seed_alone(model: str) -> None:
    prints = []
    for state, seed in ((10, 0), (11, 0), (12, 1)):
        torch.manual_seed(state)
        prints.append(weights_fingerprint(load_classifier(model, f"random:{seed}", size=64).module))
    assert prints[0] == prints[1] != prints[2]


def test_loading_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_classifier(SQUEEZENET, "random:0", size=64)
    assert torch.equal(torch.rand(3), expected)


def test_random_weights_replace_those_that_a_function_set(builder: Path) -> None:
    own = load_classifier(f"{builder}:build", size=16)
    drawn = load_classifier(f"{builder}:build", "random:9", size=16)
    assert weights_fingerprint(own.module) != weights_fingerprint(drawn.module)


def test_a_function_of_an_importable_module_builds_a_model() -> None:
    classifier = load_classifier(SMALL, size=32, mode="squash")
    assert (classifier.layer, len(classifier.classes)) == ("features", 6)
    assert classifier.preprocessing.fit == Fit(32, "squash")


def test_a_function_of_a_file_builds_a_model(builder: Path) -> None:
    classifier = load_classifier(f"{builder}:build", size=16, classes=("a", "b", "c", "d", "e"))
    assert classifier.layer == "0"
    assert classifier.module(classifier.example()).shape == (1, 5)


@pytest.mark.parametrize("arch", ["file", SQUEEZENET])
def test_a_bare_state_dict_takes_its_architecture_from_arch(tmp_path: Path, builder: Path, arch: str) -> None:
    if arch == "file":
        arch = f"{builder}:build"
        module = build_architecture(arch, 5)
    else:
        module = build_architecture(arch, 1000)
    path = save_state(tmp_path / "weights.pt", module)
    classifier = load_classifier(path, arch=arch, size=64)
    assert weights_fingerprint(classifier.module) == weights_fingerprint(module)


def test_a_checkpoint_comes_back_with_weights_classes_preprocessing_and_activation(tmp_path: Path) -> None:
    module = build_architecture(SMALL, 3)
    preprocessing = Preprocessing(Fit(48, "crop", 56, "bicubic"), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    path = tmp_path / "model.pt"
    save_checkpoint(path, module, SMALL, ("x", "y", "z"), preprocessing, "sigmoid")
    classifier = load_classifier(str(path))
    assert weights_fingerprint(classifier.module) == weights_fingerprint(module)
    assert classifier.classes == ("x", "y", "z")
    assert (classifier.preprocessing, classifier.activation) == (preprocessing, "sigmoid")


def test_a_checkpoint_answers_for_the_classes_that_it_shares_with_the_data(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    module = build_architecture(SMALL, 3)
    save_checkpoint(path, module, SMALL, ("x", "y", "z"), Preprocessing(Fit(32)), "softmax")
    classifier = load_classifier(str(path), classes=("z", "w", "x"))
    assert classifier.mapping.outputs == ((2,), (), (0,))
    assert classifier.named.tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["evil.py", "torchvision:evil.py", "timm:evil.py"])
def test_a_checkpoint_does_not_run_code_that_the_user_has_not_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched, code, path = tmp_path / "touched", tmp_path / name, tmp_path / "model.pt"
    code.write_text(f"open({str(touched)!r}, 'w')\n" + BUILDER)
    save_checkpoint(path, nn.Linear(1, 1), f"{name}:build", ("x",), Preprocessing(Fit(32)), "softmax")
    assert "if you trust that code, allow it with --arch" in refused(str(path))
    assert not touched.exists()


def test_a_checkpoint_runs_code_that_the_user_has_named(tmp_path: Path, builder: Path) -> None:
    arch, path = f"{builder}:build", tmp_path / "model.pt"
    module = build_architecture(arch, 2)
    save_checkpoint(path, module, arch, ("x", "y"), Preprocessing(Fit(32)), "softmax")
    classifier = load_classifier(str(path), arch=arch)
    assert weights_fingerprint(classifier.module) == weights_fingerprint(module)


def unnamed(mapping: ClassMapping) -> list[str]:
    return [name for name, outputs in zip(mapping.classes, mapping.outputs, strict=True) if not outputs]


def test_a_timm_model_takes_random_weights_and_its_own_preprocessing() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    classifier = load_classifier("timm:resnet18", "random:0", classes="voc")
    assert (classifier.layer, classifier.preprocessing.fit.size) == ("layer4", 224)
    assert unnamed(classifier.mapping) == ["person"]
    again = load_classifier("timm:resnet18", "random:0")
    assert weights_fingerprint(again.module) == weights_fingerprint(classifier.module)


class Trap:
    """Its pickle would touch a file when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("write", [torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap, protocol=2))])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path, write: Any) -> None:
    path, touched = tmp_path / "model.pt", tmp_path / "touched"
    write({"weight": Trap(touched)}, path)
    assert f"Expected weights only (a state dict) in {path}" in refused(str(path), arch=SQUEEZENET)
    assert not touched.exists()


def test_unknown_names_and_files_are_refused_in_one_line(tmp_path: Path) -> None:
    assert "torchvision has no model 'resnet19'" in refused("torchvision:resnet19", "random:0")
    assert "Expected --weights for torchvision:resnet18: IMAGENET1K_V1, a state-dict" in refused("torchvision:resnet18")
    assert "No weights file at nowhere.pt" in refused(SQUEEZENET, "nowhere.pt")
    assert "No weights file at nowhere.pt" in refused("nowhere.pt")
    assert "Expected a model as torchvision:NAME, timm:NAME, hf:NAME" in refused("resnet18")
    assert "random:SEED with a whole number, got 'random:x'" in refused(SQUEEZENET, "random:x")
    pytest.importorskip("timm", reason="timm is not installed")
    assert "timm cannot build 'no_such_net'" in refused("timm:no_such_net", "random:0")


def test_functions_that_build_nothing_are_refused_in_one_line(builder: Path) -> None:
    assert "Cannot import 'no_such_module'" in refused("no_such_module:build")
    assert f"Cannot import '{builder.parent}/absent.py'" in refused(f"{builder.parent}/absent.py:build")
    assert f"Expected a function 'absent' in {builder}" in refused(f"{builder}:absent")
    assert "to return a torch module, got int" in refused(f"{builder}:not_a_module")
    assert "cannot build its model: OSError: no disk" in refused(f"{builder}:broken")


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    path = save_state(tmp_path / "weights.pt", nn.Linear(2, 2))
    assert re.search(r"weights\.pt do not fit SqueezeNet: Missing key", refused(SQUEEZENET, path))
    (tmp_path / "broken.pt").write_bytes(b"not a file of weights")
    assert "Expected weights only (a state dict)" in refused(SQUEEZENET, str(tmp_path / "broken.pt"))
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    assert "got list" in refused(SQUEEZENET, str(tmp_path / "list.pt"))
    assert "holds weights only; name its architecture with --arch" in refused(path)


def test_layers_sizes_and_activations_that_cannot_be_are_refused_in_one_line(builder: Path) -> None:
    model = f"{builder}:build"
    assert "Expected --layer to name a module, got 'layer9'; top-level modules: 0, 1" in refused(
        model, size=16, layer="layer9"
    )
    assert "cannot take an input of 2x2" in refused(model, size=2)
    assert "activation to be one of softmax, sigmoid, none, got 'relu'" in refused(model, size=16, activation="relu")
    assert "`mode` to be one of squash, crop, squash-crop, letterbox" in refused(model, size=16, mode="stretch")


@pytest.mark.parametrize("outputs", [lambda images: images[:, 0], lambda images: {"logits": images.mean((2, 3))}])
def test_a_model_that_gives_no_logits_is_refused(outputs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Any:
            return outputs(images)

    monkeypatch.setattr("audit.models.small.build", Odd)
    assert "to give logits [B, classes], got" in refused(SMALL, size=16)


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet18", "layer4"), ("vgg11", "avgpool"), ("squeezenet1_0", "classifier.2")]
)
def test_the_target_layer_is_the_last_with_a_spatial_output(name: str, layer: str) -> None:
    module = get_model(name, weights=None).eval()
    assert find_target_layer(module, torch.zeros(1, 3, 96, 96)) == layer
    assert not any(part._forward_hooks for part in module.modules())


def test_a_model_without_a_spatial_output_has_no_target_layer() -> None:
    with pytest.raises(ModelError, match="found none; name one with --layer"):
        find_target_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize("groups", [[[0, 3], [], [2], [1, 4, 5]], [[4], [], [0]]])
def test_a_class_of_several_outputs_has_the_logsumexp_of_theirs(
    rng: np.random.Generator, groups: list[list[int]]
) -> None:
    outputs = rng.normal(size=(4, 6)) * 3
    found = with_groups(groups).class_logits(torch.tensor(outputs))
    expected = [[oracles.class_logit(row, group) for group in groups] for row in outputs]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_who_asks_in_inference_mode_first_lets_gradients_past_later() -> None:
    answers = Classifier(nn.Linear(3, 3), Preprocessing(Fit(1)), ClassMapping(("a", "b"), ((0, 2), (1,))), "")
    with torch.inference_mode():
        here = (answers.members, answers.membership)
        answers.module.to("meta")
        there = (answers.members, answers.membership)
    assert [table.device.type for table in (*here, *there)] == ["cpu", "cpu", "meta", "meta"]
    assert not any(table.is_inference() for table in (*here, *there))


def test_softmax_gives_a_class_the_sum_of_its_outputs_probabilities(rng: np.random.Generator) -> None:
    groups, outputs = [[0, 3], [], [2]], torch.tensor(rng.normal(size=(4, 6)))
    found, all_of_them = with_groups(groups).probabilities(outputs), outputs.softmax(dim=1)
    for index, group in enumerate(groups):
        torch.testing.assert_close(found[:, index], all_of_them[:, group].sum(dim=1))


def test_sigmoid_gives_each_class_a_probability_of_its_own(rng: np.random.Generator) -> None:
    outputs = torch.tensor(rng.normal(size=(4, 3)))
    found = with_groups([[1], [], [0]], "sigmoid").probabilities(outputs)
    torch.testing.assert_close(found[:, 0], 1 / (1 + (-outputs[:, 1]).exp()))
    assert (found[:, 1] == 0).all()


def test_normalising_is_that_of_torchvision(rng: np.random.Generator) -> None:
    from torchvision.transforms.functional import normalize

    pixels = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    preprocessing = Preprocessing(Fit(8))
    expected = normalize(torch.tensor(pixels).permute(0, 3, 1, 2) / 255, preprocessing.mean, preprocessing.std)
    torch.testing.assert_close(preprocessing.normalise(pixels), expected, rtol=1e-5, atol=1e-6)
    given = torch.tensor(pixels)
    preprocessing.normalise(given)
    np.testing.assert_array_equal(given, pixels)


def test_the_fingerprint_changes_with_any_weight_or_buffer() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    first = weights_fingerprint(module)
    assert weights_fingerprint(module) == first
    module[1].get_buffer("running_mean")[0] += 1
    second = weights_fingerprint(module)
    module[0].get_parameter("bias").detach()[1] += 1
    assert len({first, second, weights_fingerprint(module)}) == 3


def test_a_spec_overrides_the_preprocessing_of_the_weights() -> None:
    spec = ModelSpec(SQUEEZENET, "random:0", size=112, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    found = load_classifier(spec).preprocessing
    assert found == Preprocessing(Fit(112, "crop", 128), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def test_imagenets_squeezenet_names_voc_objects_through_the_mapping(shared_models: Path) -> None:
    weights = shared_models / "squeezenet1_0_imagenet.pth"
    classifier = load_classifier("torchvision:squeezenet1_0", str(weights), classes="voc")
    assert unnamed(classifier.mapping) == ["person"]
    folder = shared_models.parent / "voc2012/VOCdevkit/VOC2012"
    if not folder.is_dir():
        pytest.skip(f"no images at {folder}")
    labels = voc_labels(folder, 24)
    fit, normalise = classifier.preprocessing.fit, classifier.preprocessing.normalise
    pixels = [fit(np.asarray(Image.open(folder / f"JPEGImages/{name}.jpg")))[0] for name in labels]
    with torch.inference_mode():
        probabilities = classifier.probabilities(classifier.module(normalise(np.stack(pixels))))
    assert ((probabilities >= 0) & (probabilities <= 1 + 1e-5)).all()
    hits = [int(top) in own for top, own in zip(probabilities.argmax(dim=1), labels.values(), strict=True)]
    # The mapped top class is in the picture far more often than one in twenty.
    assert np.mean(hits) > 0.5


def voc_labels(folder: Path, count: int) -> dict[str, set[int]]:
    """Class ids in the masks of the first images that show more than people."""
    names = (folder / "ImageSets/Segmentation/val.txt").read_text().split()
    found = {}
    for name in names:
        values = set(np.unique(np.asarray(Image.open(folder / f"SegmentationClass/{name}.png"))).tolist())
        own = {value - 1 for value in values - {0, 255}}
        if own - {VOC_CLASSES.index("person")}:
            found[name] = own
    return dict(list(found.items())[:count])
