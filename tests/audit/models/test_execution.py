"""Networks in another precision or compiled: nearly or exactly the same maps, and the owner's module untouched."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.attribution import CAM, METHODS, GradCAM, WeightedActivations
from audit.datasets.classes import ClassMapping
from audit.images.views import Fit
from audit.models import Classifier, Execution, Preprocessing
from audit.models.execution import Compiled, in_precision

SIZE = 24
WEIGHTED = {name: method for name, method in METHODS.items() if issubclass(method, WeightedActivations)}
COMPILED = Execution(compiled=True)
CLASS_IDS = torch.tensor([[0, 5], [3, 1], [2, 4]])


def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


class Network(nn.Module):
    """Three convolutions to [B, 16, 6, 6], each normalised, then a head of the kind asked for, with 6 outputs."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.features = nn.Sequential(*block(3, 8, 2), *block(8, 12, 2), *block(12, 16, 1))
        heads: dict[str, list[nn.Module]] = {
            "linear": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 6)],
            "pooled": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 12), nn.Hardswish(), nn.Linear(12, 6)],
            "general": [nn.Flatten(), nn.Linear(576, 12), nn.ReLU(), nn.Linear(12, 6)],
        }
        self.head = nn.Sequential(*heads[kind])

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


def as_if_trained(kind: str) -> Classifier:
    """A classifier whose activations are normalised as training leaves them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(kind)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
        with torch.no_grad():
            network.train()(torch.randn(32, 3, SIZE, SIZE))
    mapping = ClassMapping(tuple("abcdef"), tuple((index,) for index in range(6)))
    return Classifier(network.eval(), Preprocessing(Fit(SIZE)), mapping, "features")


def inputs(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def maps_of(method: type[WeightedActivations], classifier: Classifier, execution: Execution) -> Tensor:
    with method(classifier, execution) as explain:
        return explain(inputs(), CLASS_IDS)[0]


def hooks_of(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A compiler that compiles nothing and notes the size of each batch it runs."""
    sizes: list[int] = []

    def compile(run: Callable[[Tensor], Any], **_options: object) -> Callable[[Tensor], Any]:
        def compiled(images: Tensor) -> Any:
            sizes.append(len(images))
            return run(images)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    return sizes


@pytest.fixture
def broken_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler whose code fails at its first run, as one without a C++ compiler does."""

    def fail(*_arguments: object) -> None:
        raise OSError("no C++ compiler\nand a long trace")

    monkeypatch.setattr(torch, "compile", lambda *_arguments, **_options: fail)


def test_an_unknown_precision_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="Expected a precision among float32, bfloat16, got 'float16'"):
        Execution("float16")


@pytest.mark.parametrize("kind", ["linear", "pooled", "general"])
@pytest.mark.parametrize("name", sorted(set(WEIGHTED) - {"cam"}))
def test_maps_in_bfloat16_are_nearly_those_in_float32(name: str, kind: str) -> None:
    classifier = as_if_trained(kind)
    plain, rounded = (maps_of(WEIGHTED[name], classifier, Execution(p)) for p in ("float32", "bfloat16"))
    assert rounded.dtype == torch.float32
    warm = plain.abs().amax(dim=(2, 3)) > 0
    assert warm.any()
    assert F.cosine_similarity(plain.flatten(2), rounded.flatten(2), dim=2)[warm].min() > 0.99
    assert not torch.equal(plain, rounded)


def test_cam_in_bfloat16_has_the_weights_of_the_network_before_rounding() -> None:
    classifier = as_if_trained("linear")
    plain, rounded = (maps_of(CAM, classifier, Execution(p)).flatten(2) for p in ("float32", "bfloat16"))
    assert F.cosine_similarity(plain, rounded, dim=2).min() > 0.99
    weights = GradCAM(classifier, Execution("bfloat16")).certificate.weights
    torch.testing.assert_close(weights, classifier.module.get_parameter("head.2.weight").detach())


def test_the_owners_module_keeps_its_precision_its_parameters_and_its_mode() -> None:
    classifier = as_if_trained("general")
    module = classifier.module.train()
    before = {name: (id(value), value.clone()) for name, value in module.state_dict(keep_vars=True).items()}
    with GradCAM(classifier, Execution("bfloat16")) as explain:
        explain(inputs(), CLASS_IDS)
    for name, value in module.state_dict(keep_vars=True).items():
        assert id(value) == before[name][0]
        assert torch.equal(value, before[name][1])
        assert value.grad is None
        assert value.dtype in (torch.float32, torch.int64)
    assert all(part.training for part in module.modules())
    assert hooks_of(module) == 0


def test_in_float32_the_classifier_is_the_owners_own() -> None:
    classifier = as_if_trained("linear")
    assert in_precision(classifier, "float32") is classifier
    assert in_precision(classifier, "bfloat16").module is not classifier.module


def test_a_network_in_bfloat16_takes_and_gives_float32() -> None:
    classifier = as_if_trained("linear")
    rounded = in_precision(classifier, "bfloat16")
    outputs = rounded.module(inputs())
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, classifier.module(inputs()), rtol=0.05, atol=0.05)
    assert rounded.target_layer(inputs().bfloat16()).dtype == torch.bfloat16


def test_really_compiled_maps_are_the_plain_ones_also_for_a_smaller_last_batch() -> None:
    classifier, images = as_if_trained("linear"), inputs()
    with GradCAM(classifier) as explain:
        expected, outputs = explain(images, CLASS_IDS)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Running without torch.compile")
        with GradCAM(classifier, COMPILED) as explain:
            whole, _ = explain(images, CLASS_IDS)
            last, logits = explain(images[:1], CLASS_IDS[:1])
    assert expected.max() > 0
    torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))
    torch.testing.assert_close(last, expected[:1], rtol=1e-4, atol=1e-4 * float(expected.max()))
    torch.testing.assert_close(logits, outputs[:1], rtol=1e-4, atol=1e-4)
    assert hooks_of(classifier.module) == 0


@pytest.mark.parametrize(("name", "kind"), [("gradcam", "linear"), ("cam", "linear"), ("eigencam", "general")])
def test_smaller_batches_are_filled_up_to_the_first_ones_size(name: str, kind: str, compiler: list[int]) -> None:
    classifier = as_if_trained(kind)
    expected = maps_of(WEIGHTED[name], classifier, Execution())
    with WEIGHTED[name](classifier, COMPILED) as explain:
        found = [explain(images, CLASS_IDS[: len(images)])[0] for images in (inputs(), inputs()[:2])]
    assert compiler == [3, 3]
    for maps in found:
        torch.testing.assert_close(maps, expected[: len(maps)])


@pytest.mark.parametrize("kind", ["pooled", "general"])
def test_a_pass_that_keeps_a_graph_is_not_compiled(kind: str, compiler: list[int]) -> None:
    classifier = as_if_trained(kind)
    torch.testing.assert_close(maps_of(GradCAM, classifier, COMPILED), maps_of(GradCAM, classifier, Execution()))
    assert compiler == []


def test_outputs_come_from_the_compiled_network(compiler: list[int]) -> None:
    classifier = as_if_trained("linear")
    with GradCAM(classifier, COMPILED) as explain:
        found = [explain.outputs(inputs()), explain.outputs(inputs()[:1])]
    assert compiler == [3, 3]
    expected = classifier.module(inputs()).detach()
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(found[1], expected[:1])


def test_no_hook_is_left_after_the_compiled_context_nor_after_an_error_in_it(compiler: list[int]) -> None:
    classifier = as_if_trained("linear")
    with GradCAM(classifier, COMPILED):
        assert hooks_of(classifier.module) == 1
    assert hooks_of(classifier.module) == 0
    with pytest.raises(ZeroDivisionError), GradCAM(classifier, COMPILED) as explain:
        explain.attribute(inputs(), lambda _logits: torch.tensor([[1 // 0]]))
    assert hooks_of(classifier.module) == 0


@pytest.mark.usefixtures("broken_compiler")
def test_where_compiling_fails_maps_are_the_plain_ones_with_one_warning() -> None:
    classifier = as_if_trained("linear")
    expected = maps_of(GradCAM, classifier, Execution())
    with warnings.catch_warnings(record=True) as seen, GradCAM(classifier, COMPILED) as explain:
        warnings.simplefilter("always")
        found = [explain(inputs(), CLASS_IDS)[0] for _ in range(2)]
    own = [one for one in seen if "torch.compile" in str(one.message)]
    assert [(one.category, str(one.message)) for one in own] == [
        (RuntimeWarning, "Running without torch.compile: no C++ compiler")
    ]
    for maps in found:
        torch.testing.assert_close(maps, expected)
    assert hooks_of(classifier.module) == 0


@pytest.mark.usefixtures("broken_compiler")
def test_a_networks_own_error_is_not_hidden_by_the_compilers() -> None:
    def run(_images: Tensor) -> Tensor:
        raise ZeroDivisionError("the network's own")

    with pytest.raises(ZeroDivisionError, match="the network's own"):
        Compiled(run)(inputs())


def test_bfloat16_and_compiled_go_together(compiler: list[int]) -> None:
    classifier = as_if_trained("linear")
    rounded = maps_of(GradCAM, classifier, Execution("bfloat16"))
    torch.testing.assert_close(maps_of(GradCAM, classifier, Execution("bfloat16", compiled=True)), rounded)
    assert compiler == [3]


def test_a_size_that_fails_to_compile_later_is_run_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_one_size(run: Callable[[Tensor], Tensor], **_options: object) -> Callable[[Tensor], Tensor]:
        def compiled(images: Tensor) -> Tensor:
            if images.shape[-1] != SIZE:
                raise RuntimeError("no room")
            return run(images)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_one_size)
    network = Compiled(lambda images: images * 2)
    assert torch.equal(network(inputs()), inputs() * 2)
    larger = torch.ones(2, 3, 2 * SIZE, 2 * SIZE)
    with pytest.warns(RuntimeWarning, match=r"Running without torch.compile: no room"):
        assert torch.equal(network(larger), larger * 2)
    assert torch.equal(network(larger), larger * 2)
