"""Randomising from the top changes what it says and nothing else; a map that ignores the network is caught."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from faults.collection import camaudit, finished
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pixel_method import InputTimesGradient
from scipy.stats import spearmanr
from torch import Tensor, nn

from audit.attribution import METHODS, Attribution
from audit.attribution.method import Choose
from audit.attribution.sanity import (
    layers_in_order,
    randomise,
    randomise_from_top,
    rank_correlation,
    structural_similarity,
)
from audit.models.small import build
from audit.progress import Advanced, Began, Ended, Event
from audit.store import Run
from pipelines.experiments.sanity import SanityCheck, check_sanity
from pipelines.run.plan import Plan

EXAMPLE = torch.zeros(1, 3, 32, 32)


class Brightness(InputTimesGradient):
    """An edge detector of sorts: it looks at the image alone, never at the network."""

    name = "brightness"

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        """The same map for every class."""
        outputs = self.outputs(images)
        ids = choose(self.classifier.class_logits(outputs))
        return self._finish(images.mean(dim=1, keepdim=True).expand(-1, ids.shape[1], -1, -1), ids, outputs)


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, Brightness.name, Brightness)
        yield


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return finished(tmp_path_factory.mktemp("finished"))


class Backwards(nn.Module):
    """Its parts are named in the opposite of the order in which they run; one of them is read by its owner alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.norm = nn.BatchNorm2d(4)
        self.mix = nn.MultiheadAttention(4, 2, batch_first=True)
        self.stem = nn.Conv2d(3, 4, 3)
        self.offset = nn.Parameter(torch.randn(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.norm(self.stem(images + self.offset)).flatten(2).mT
        found: Tensor = self.head(self.mix(tokens, tokens, tokens)[0].mean(dim=1))
        return found


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed_between(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the layers with a value that differs."""
    return {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_layers_come_in_the_order_in_which_they_run_those_that_never_run_after_their_owner() -> None:
    assert layers_in_order(Backwards(), EXAMPLE) == ["", "stem", "norm", "mix", "mix.out_proj", "head"]


def test_each_stage_randomises_its_own_layers_from_the_output_down_and_keeps_the_others() -> None:
    module = build(3)
    names = layers_in_order(module, EXAMPLE)[::-1]
    before, randomised = state(module), 0
    for stage, changed in randomise_from_top(module, EXAMPLE, stages=5):
        after = state(changed)
        upto = names.index(stage) + 1
        new = names[randomised:upto]
        assert changed_between(before, after) <= set(new)
        assert {name for name in new if name.endswith(".0") or name == "classifier"} <= changed_between(before, after)
        before, randomised = after, upto
    assert randomised == len(names) == 15


@pytest.mark.parametrize(("stages", "count"), [(1, 2), (2, 2), (5, 5), (15, 15), (99, 15)])
def test_the_first_stage_is_the_last_layer_alone_and_there_are_no_more_than_asked(stages: int, count: int) -> None:
    names = [name for name, _ in randomise_from_top(build(3), EXAMPLE, stages)]
    assert len(names) == count
    assert (names[0], names[-1]) == ("classifier", "features.0.0")


def test_the_module_itself_torchs_generator_and_its_hooks_stay_as_they_are() -> None:
    module = build(3).train()
    before, generator = state(module), torch.random.get_rng_state()
    for _, changed in randomise_from_top(module, EXAMPLE):
        assert changed is not module
    assert changed_between(before, state(module)) == set()
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert module.training
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_random_weights_follow_from_the_seed() -> None:
    module = build(3)

    def last(seed: int) -> dict[str, Tensor]:
        *_, (_, changed) = randomise_from_top(module, EXAMPLE, 3, seed)
        return state(changed)

    assert changed_between(last(1), last(1)) == set()
    assert "features.0.0" in changed_between(last(1), last(2))


def test_statistics_of_batch_normalisation_begin_anew() -> None:
    layer = nn.BatchNorm2d(3)
    layer.running_mean += 5
    layer.weight.data += 1
    randomise(layer)
    assert torch.equal(layer.running_mean, torch.zeros(3))
    assert torch.equal(layer.weight, torch.ones(3))


def test_a_layer_that_cannot_reset_itself_gets_normal_numbers_of_the_same_mean_and_spread() -> None:
    torch.manual_seed(0)
    layer = nn.Module()
    layer.values = nn.Parameter(3 + 0.5 * torch.rand(40, 50))
    before = layer.values.detach().numpy().copy()
    randomise(layer)
    after = layer.values.detach().numpy()
    assert after.mean() == pytest.approx(before.mean(), abs=0.02)
    assert after.std() == pytest.approx(before.std(), rel=0.1)
    assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.1


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (2, 3, 4), elements=st.integers(-4, 4).map(float)))
def test_the_rank_correlation_of_sizes_is_scipys(maps: np.ndarray) -> None:
    a, b = (np.abs(part).ravel() for part in maps)
    found = rank_correlation(maps[0], maps[1])
    constant = np.ptp(a) == 0 or np.ptp(b) == 0
    assert found == pytest.approx(0 if constant else spearmanr(a, b).statistic, abs=1e-9)


def test_similarities_are_formed_for_each_map_alone_and_are_nan_where_one_is_absent(rng: np.random.Generator) -> None:
    first, second = rng.normal(size=(2, 2, 3, 9, 8))
    second[1, 2, 0, 0] = np.nan
    for measure in (rank_correlation, structural_similarity):
        found = measure(first, second)
        assert found.shape == (2, 3)
        assert np.isnan(found[1, 2])
        assert found[0, 1] == measure(first[0, 1], second[0, 1])
        np.testing.assert_allclose(measure(first, -2 * first), 1)


def test_ssim_is_that_of_all_windows_of_the_maps_at_their_peaks(rng: np.random.Generator) -> None:
    first, second = rng.normal(size=(2, 10, 9))
    a, b = (np.abs(heat) / np.abs(heat).max() for heat in (first, second))
    assert structural_similarity(first, second) == pytest.approx(oracles.ssim(a, b), abs=1e-9)
    assert np.isnan(structural_similarity(first[:6], second[:6]))


def test_a_method_that_never_looks_at_the_network_is_caught_beside_one_that_does(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["sanity", str(plan.run.path), "--method", "gradcam", "--method", "brightness", "--sample", "4"]
    asked += ["--model", str(plan.task.spec.model)]
    capsys.readouterr()
    assert camaudit(asked, monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "brightness hardly changes though the network was randomised" in shown
    assert "it does not explain this model" in shown
    record = json.loads((plan.run.path / "report/sanity.json").read_text())
    assert record["samples"] == 4
    assert record["randomised_down_to"] == ["head", "trunk.1"]
    assert record["methods"]["brightness"]["rank_correlation"] == [1.0, 1.0]
    assert not record["methods"]["brightness"]["passes"]
    assert record["methods"]["gradcam"]["half"] < 0.9
    with Image.open(plan.run.path / "report/sanity.png") as picture:
        assert picture.size[0] > 500
        assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_the_runs_own_method_is_checked_where_none_is_named_and_comes_out_the_same_again(plan: Plan) -> None:
    check = SanityCheck(model=plan.task.spec.model, samples=3, batch_size=2)
    told: list[Event] = []
    record = check_sanity(plan.run.path, check, told.append)
    assert list(record["methods"]) == ["gradcam"]
    stages = len(record["randomised_down_to"])
    assert told == [Began("randomising", check.stages), *[Advanced()] * stages, Ended()]
    assert check_sanity(plan.run.path, check) == record
    assert list(Run.open(plan.run.path).damaged()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"samples": 0}, "--sample of at least 1, got 0"), ({"methods": ("magic",)}, "--method to be one of gradcam")],
)
def test_a_check_that_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SanityCheck(**wrong)


def test_unreadable_images_are_left_out(tmp_path: Path) -> None:
    plan = finished(tmp_path, 4)
    (tmp_path / "000.png").write_bytes(b"")
    assert check_sanity(plan.run.path, SanityCheck(model=plan.task.spec.model, samples=4))["samples"] == 3
