"""An optimiser's way through a training, which can be put away after any epoch and taken up again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from audit.errors import ModelError


@dataclass
class Optimisation:
    """A module, what moves its weights, and all chance that takes part.

    Its state after an epoch holds everything that the next depends on: a training that goes on from it gives the
    weights of one that never stopped, bit by bit on the same machine with the same number of threads.

    Attributes:
        schedule: of the learning rate, moved at every step.
        rng: orders samples and draws what NumPy draws of them.
        steps: of the whole training.
        step: those that are done.
        chance: states of torch's generators, of the CPU and, where the module is on one, of the GPU; dropout and
            torchvision's transforms draw from them.
    """

    module: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    rng: np.random.Generator
    steps: int
    step: int
    chance: list[Tensor]

    @classmethod
    def begin(
        cls, module: nn.Module, optimizer: Optimizer, schedule: LRScheduler, steps: int, seed: int
    ) -> Optimisation:
        """A training of so many steps before its first; all chance follows from the seed."""
        module.to(memory_format=torch.channels_last)
        with _forked(module):
            torch.manual_seed(seed)
            return cls(module, optimizer, schedule, np.random.default_rng(seed), steps, 0, _generators(module))

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @contextmanager
    def training(self) -> Iterator[None]:
        """Train mode and torch's generators as they were left; eval mode and the caller's generators afterwards."""
        with _forked(self.module):
            _set_generators(self.module, self.chance)
            self.module.train()
            try:
                yield
            finally:
                self.module.eval()
                self.chance = _generators(self.module)

    def descend(self, loss: Tensor) -> float:
        """One step down the gradient of a loss; returns its value.

        Raises:
            ModelError: the loss is not finite.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise ModelError(
                f"Expected a finite loss, got {value} at step {self.step + 1} of {self.steps}; "
                f"lower the learning rate (it is {self.optimizer.defaults['lr']}) and check the preprocessing"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        return value

    def batches(self, count: int, size: int, chance: NDArray[np.float64] | None = None) -> Iterator[NDArray[np.intp]]:
        """Rows of an epoch's samples, in batches of like size: each row once, in an order of chance.

        Args:
            count: samples.
            size: of a batch, at most.
            chance: [count] of each sample, adding up to 1, to be drawn each time; with it a row may come several times.
        """
        rows = self.rng.permutation(count) if chance is None else self.rng.choice(count, count, p=chance)
        # From the last on, and each batch in the order of the file that samples may be mapped from.
        for batch in reversed(np.array_split(rows, batch_count(count, size))):
            yield np.sort(batch)

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on: tensors and plain values."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": self.rng.bit_generator.state,
            "step": self.step,
            "chance": self.chance,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.rng.bit_generator.state = state["rng"]
        self.step = state["step"]
        self.chance = list(state["chance"])


def batch_count(samples: int, size: int) -> int:
    """Batches of at most `size` that hold all samples."""
    return math.ceil(samples / size)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights lie."""
    return next(module.parameters()).device


@contextmanager
def _forked(module: nn.Module) -> Iterator[None]:
    device = device_of(module)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _generators(module: nn.Module) -> list[Tensor]:
    device = device_of(module)
    of_gpu = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *of_gpu]


def _set_generators(module: nn.Module, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device_of(module))
