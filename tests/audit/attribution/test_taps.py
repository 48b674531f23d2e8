"""Modules in eval mode for a while, however that while ends."""

from __future__ import annotations

import gc
import sys

import pytest
from torch import nn

from audit.attribution.taps import evaluating


def test_each_part_has_its_own_mode_back_when_nobody_wants_eval_mode_any_more() -> None:
    module = nn.Sequential(nn.ReLU(), nn.ReLU().eval())
    with evaluating(module):
        with evaluating(module):
            pass
        assert not module.training
    assert [part.training for part in module.modules()] == [True, True, False]


def test_a_module_that_is_collected_together_with_who_holds_it_complains_of_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    module = nn.Sequential(nn.ReLU())
    module.held = evaluating(module)  # type: ignore[assignment]  # a circle, which is taken apart at once
    module.held.__enter__()  # type: ignore[operator]
    del module
    gc.collect()
    assert complaints == []
