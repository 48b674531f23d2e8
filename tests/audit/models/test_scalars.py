"""Scalars of any output as targets: the page's own examples against plain autograd, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from torch import Tensor, nn

from audit.attribution import METHODS, GradCAM, make_method
from audit.datasets.classes import ClassMapping
from audit.errors import ModelError
from audit.images.views import Fit
from audit.models import Classifier, Execution, Preprocessing, group, load_classifier, scalar_outputs

PAGE = Path(__file__).parents[3] / "docs" / "targets.md"
EXAMPLES = ["A group of classes", "A caption", "An answer to a question", "A detected box"]
PLAIN = Preprocessing(Fit(16))


@pytest.fixture(scope="module")
def page() -> dict[str, dict[str, Any]]:
    """The names that each section of the page leaves behind, its code run from top to bottom."""
    names: dict[str, Any] = {}
    left = {}
    with torch.random.fork_rng():
        for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE):
            for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
                exec(block, names)
            left[section.splitlines()[0]] = dict(names)
    return left


def small_network(outputs: int = 6) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, outputs)]
        return nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(), *head).eval()


def inputs(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def scalars_of(classifier: Classifier) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network inside, as the page built it, and its scalars."""
    return classifier.module.network, classifier.module._scalars  # type: ignore[return-value]


@pytest.mark.parametrize("section", EXAMPLES)
def test_the_maps_of_the_page_are_those_of_plain_autograd(page: dict[str, dict[str, Any]], section: str) -> None:
    names = page[section]
    network, scalars = scalars_of(names["classifier"])
    layer = names["classifier"].target_layer
    for place, scalar in enumerate(scalars.values()):
        expected = np.stack(oracles.gradcam_of_scalar(network, layer, names["images"], scalar))
        found = names["heat"][:, place].double().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3 * expected.max())


@pytest.mark.parametrize("section", EXAMPLES)
def test_every_example_has_heat_for_its_first_scalar_and_two_maps_for_its_two(
    page: dict[str, dict[str, Any]], section: str
) -> None:
    heat = page[section]["heat"]
    assert (heat[:, 0].amax(dim=(1, 2)) > 0).all()
    assert not torch.allclose(heat[:, 0], heat[:, 1], rtol=0.01, atol=0)


def test_the_captions_value_is_the_product_of_its_words_probabilities(page: dict[str, dict[str, Any]]) -> None:
    """Each word from a pass of its own over the words before it."""
    names = page["A caption"]
    captioner, caption = names["captioner"].network, names["caption"].tolist()
    for image, value in zip(names["images"], names["values"][:, 0], strict=True):
        product = 1.0
        for length, word in enumerate(caption):
            before = torch.tensor([names["START"], *caption[:length]])
            with torch.no_grad():
                product *= float(captioner(image[None], before)[0, -1].softmax(dim=0)[word])
        assert np.log(product) == pytest.approx(float(value), rel=1e-5)


def test_two_questions_about_an_image_have_two_maps(page: dict[str, dict[str, Any]]) -> None:
    names = page["An answer to a question"]
    maps = []
    for question in (names["what_colour"], names["how_many"]):
        network = names["With"](names["answerer"], question)
        classifier = scalar_outputs(network, {"red": group(1)}, preprocessing=PLAIN, layer="network.features")
        with GradCAM(classifier) as explain:
            maps.append(explain(names["images"])[0])
    assert torch.nn.functional.cosine_similarity(maps[0].flatten(), maps[1].flatten(), dim=0) < 0.999


def test_a_box_that_is_not_detected_has_value_and_heat_zero(page: dict[str, dict[str, Any]]) -> None:
    names = page["A detected box"]
    assert names["explain"].head == "general"
    assert names["values"][:, 0].min() > 0.5
    assert names["values"][:, 1].tolist() == [0, 0]
    assert names["heat"][:, 1].count_nonzero() == 0


def test_the_heat_of_a_detected_box_is_that_of_its_own_image(page: dict[str, dict[str, Any]]) -> None:
    names = page["A detected box"]
    with GradCAM(names["classifier"]) as explain:
        alone, values = explain(names["images"][1:], torch.tensor([[0]]))
    torch.testing.assert_close(values, names["values"][1:], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(alone[0, 0], names["heat"][1, 0], rtol=1e-2, atol=1e-3 * float(alone.max()))


OF_OTHER_NETWORKS = ("layercam-fused", "legrad", "gradient-rollout", "attnlrp")
"""Methods that need several layers, or attention."""


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OF_OTHER_NETWORKS])
def test_logits_taken_as_scalars_have_the_maps_of_the_classifier(name: str) -> None:
    network, class_ids = small_network(), torch.tensor([[0, 5], [2, 1], [3, 3]])
    mapping = ClassMapping(tuple("abcdef"), tuple((place,) for place in range(6)))
    plain = Classifier(network, PLAIN, mapping, "1", "none")
    wrapped = scalar_outputs(network, {name: group(place) for place, name in enumerate("abcdef")}, preprocessing=PLAIN)
    found = []
    for classifier in (plain, wrapped):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            with make_method(name, classifier) as explain:
                found.append(explain(inputs(), class_ids)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-5 * float(found[0].abs().max()), equal_nan=True)


def test_a_group_has_the_map_of_a_class_of_the_same_outputs() -> None:
    network = small_network()
    mapping = ClassMapping(("both",), ((3, 5),))
    with GradCAM(Classifier(network, PLAIN, mapping, "1")) as explain:
        expected, logits = explain(inputs())
    with GradCAM(scalar_outputs(network, {"both": group(3, 5)}, preprocessing=PLAIN, layer="1")) as explain:
        found, values = explain(inputs())
    assert expected.max() > 0
    torch.testing.assert_close(values, logits)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_probabilities_are_the_scalars_as_they_are() -> None:
    network = small_network()
    classifier = scalar_outputs(network, {"difference": lambda out: 9 * (out[:, 0] - out[:, 1])}, preprocessing=PLAIN)
    with GradCAM(classifier) as explain:
        found = explain.attribute(inputs(), lambda logits: logits.argmax(dim=1, keepdim=True))
        outputs = network(inputs()).detach()
    assert classifier.activation == "none"
    torch.testing.assert_close(found.probabilities[:, 0], 9 * (outputs[:, 0] - outputs[:, 1]))
    assert torch.equal(found.probabilities, found.logits)


def test_a_model_may_be_loaded_with_its_outputs_as_they_are() -> None:
    classifier = load_classifier("audit.models.small:build", "random:0", size=32, activation="none")
    outputs = torch.tensor([[-4.0, 0.5, 7, 1, 2, 3]])
    assert torch.equal(classifier.probabilities(outputs), outputs)


def test_scalars_run_in_another_precision() -> None:
    classifier = scalar_outputs(small_network(), {"either": group(3, 5)}, preprocessing=PLAIN)
    maps = []
    for precision in ("float32", "bfloat16"):
        with GradCAM(classifier, Execution(precision)) as explain:
            maps.append(explain(inputs())[0].flatten())
    assert torch.nn.functional.cosine_similarity(maps[0], maps[1], dim=0) > 0.99


def test_the_layer_is_found_or_named_inside_the_network() -> None:
    network = small_network()
    assert scalar_outputs(network, {"a": group(0)}, preprocessing=PLAIN).layer == "network.1"
    assert scalar_outputs(network, {"a": group(0)}, preprocessing=PLAIN, layer="0").target_layer is network[0]


def test_what_cannot_be_a_scalar_or_a_layer_is_refused_in_one_line() -> None:
    network = small_network()
    for scalar, came in ((lambda out: out, r"\(2, 6\)"), (lambda out: out.mean(), r"\(\)"), (lambda out: 3.0, "float")):
        with pytest.raises(ModelError, match=rf"Expected scalar 'odd' to give \[B\] = \(2,\), got {came}; correct it"):
            scalar_outputs(network, {"even": group(0), "odd": scalar}, preprocessing=PLAIN)
    with pytest.raises(ModelError, match="Expected `layer` to name a module, got 'layer4'; top-level modules: 0, 1, 2"):
        scalar_outputs(network, {"a": group(0)}, preprocessing=PLAIN, layer="layer4")
    with pytest.raises(ValueError, match="Expected at least one scalar, got none; name one"):
        scalar_outputs(network, {}, preprocessing=PLAIN)
