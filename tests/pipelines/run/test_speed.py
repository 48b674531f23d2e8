"""When a run compiles its network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audit.datasets.classes import ClassMapping
from audit.images.views import Fit
from audit.models import Classifier, Preprocessing
from audit.progress import Event, Noted
from pipelines.run import speed
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.speed import WORTH_TRYING_S, Timing, decide_compiling, repaid

BATCHES = 1000


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.head(self.layer(images).mean(dim=(2, 3)))
        return outputs


def classifier() -> Classifier:
    mapping = ClassMapping(("a", "b", "c"), ((0,), (1,), (2,)))
    return Classifier(OneLayer().eval(), Preprocessing(Fit(8)), mapping, "layer")


def decide(samples: float, timings: dict[bool, Timing | None], monkeypatch: pytest.MonkeyPatch) -> tuple[bool, str]:
    told: list[Event] = []
    monkeypatch.setattr(speed, "_time", lambda method, _batch_size: timings[method.execution.compiled])
    compiles = decide_compiling(classifier(), RunConfig(batch_size=10), samples, 1, told.append)
    return compiles, " | ".join(event.text for event in told if isinstance(event, Noted))


@pytest.mark.parametrize(
    ("later", "expected"),
    [(0.5, True), (0.97, False), (1.2, False)],  # of 1000 s plain: 500 s saved, 30 s saved, 200 s lost
)
def test_compiling_repays_when_it_saves_twice_what_it_costs(later: float, expected: bool) -> None:
    assert repaid(BATCHES, Timing(1, 1), Timing(20, later)) is expected


def test_a_short_run_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    short = 10 * (WORTH_TRYING_S - 1)
    assert decide(short, {False: Timing(1, 1)}, monkeypatch) == (False, "")


def test_a_long_run_compiles_and_says_what_that_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    compiles, said = decide(10 * BATCHES, {False: Timing(1, 1), True: Timing(20, 0.5)}, monkeypatch)
    assert compiles
    assert "about 17 min for each worker" in said
    assert said.endswith("compiled in 20 s, 2.00 times as fast: compiling")


def test_a_long_run_does_not_compile_what_is_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    compiles, said = decide(10 * BATCHES, {False: Timing(1, 1), True: Timing(20, 1)}, monkeypatch)
    assert not compiles
    assert said.endswith("which does not repay here")


def test_without_a_compiler_a_run_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    compiles, said = decide(10 * BATCHES, {False: Timing(1, 1), True: None}, monkeypatch)
    assert not compiles
    assert "needs a C++ compiler" in said


def test_a_method_that_gains_nothing_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_time", lambda *_: pytest.fail("timed"))
    config = RunConfig("integrated", batch_size=1)
    assert not decide_compiling(classifier(), config, 1e9, 1)


def test_a_method_of_many_passes_is_worth_it_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = {False: Timing(0.1, 0.1), True: Timing(20, 0.05)}
    monkeypatch.setattr(speed, "_time", lambda method, _batch_size: timings[method.execution.compiled])
    gradcam, rise = (RunConfig(name, batch_size=10) for name in ("gradcam", "rise"))
    assert not decide_compiling(classifier(), gradcam, 1000, 1)
    assert decide_compiling(classifier(), rise, 1000, 1)


def test_a_failed_compilation_is_seen_in_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> object:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda *_arguments, **_options: broken)
    threads = torch.get_num_threads()
    monkeypatch.setattr(speed, "WORTH_TRYING_S", 0.0)
    told: list[Event] = []
    assert not decide_compiling(classifier(), RunConfig(batch_size=2), 100, 1, told.append)
    assert "does not work here" in str(told[-1])
    assert torch.get_num_threads() == threads


def test_an_unknown_wish_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected --compile to be one of auto, always, never, got 'maybe'"):
        ClusterConfig(compiling="maybe")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a precision among float32, bfloat16, got 'int4'"):
        RunConfig(precision="int4")
