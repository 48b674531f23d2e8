"""The course of a training: every epoch is put down as it ends, and a training that was killed goes on after the last.

CHECKPOINT.pt              what the training is for, written last
CHECKPOINT.training.json   what was asked, and one record an epoch
CHECKPOINT.training.png    the learning curve
CHECKPOINT.training.pt     what the next epoch depends on; deleted once the checkpoint is there
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audit.errors import ModelError, RunError
from audit.models.training.optimisation import Optimisation
from audit.models.weights import load_state
from audit.progress import Noted, Progress, stretch
from audit.store.storage.files import read_json, write_atomically, write_json
from pipelines.interrupts import held
from pipelines.training.curves import draw_learning_curve

RunEpoch = Callable[[], dict[str, float]]
"""Trains for one epoch and returns what was measured, by name."""

_REDRAWN_S = 20.0


@dataclass
class Course:
    """What became of a training up to now.

    Attributes:
        checkpoint: file that the training is for; the others lie beside it.
        asked: plain values; a training goes on only where the same is asked.
        watched: name of what is measured and decides which epoch is best, the higher the better.
        patience: epochs without a better one after which the training stops, its best weights kept; None to go to the
            end and keep the last.
        history: one record an epoch.
        best: the number of the best epoch and its weights.
    """

    checkpoint: Path
    asked: Mapping[str, Any]
    watched: str | None = None
    patience: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best: tuple[int, dict[str, Tensor]] | None = None
    _drawn_s: float = -math.inf

    @property
    def record(self) -> Path:
        """File of the records."""
        return self.checkpoint.with_suffix(".training.json")

    @property
    def curve(self) -> Path:
        """File of the picture."""
        return self.checkpoint.with_suffix(".training.png")

    @property
    def state(self) -> Path:
        """File that is there while the training is under way."""
        return self.checkpoint.with_suffix(".training.pt")

    @property
    def kept(self) -> dict[str, Any]:
        """Record of the epoch whose weights are kept."""
        return self.history[(self.best[0] if self.best else len(self.history)) - 1]

    @property
    def stopped(self) -> bool:
        """Whether patience is over."""
        if self.patience is None or self.best is None:
            return False
        return len(self.history) - self.best[0] >= self.patience

    def follow(self, optimisation: Optimisation, epochs: int, run_epoch: RunEpoch, progress: Progress) -> None:
        """Run the epochs that are left, and leave the module with the weights that are kept.

        Raises:
            RunError: what lies there is of a training that was asked otherwise.
            ModelError: the loss is no longer finite.
        """
        if self._resume(optimisation):
            progress(Noted(f"going on after epoch {len(self.history)} of {epochs}"))
        with stretch(progress, "training", optimisation.steps, optimisation.step):
            while len(self.history) < epochs and not self.stopped:
                rate, measured = optimisation.learning_rate, run_epoch()
                self._take(optimisation, {"epoch": len(self.history) + 1, "learning_rate": rate, **measured})
                with held():
                    self._put_down(optimisation)
        if self.best is not None:
            optimisation.module.load_state_dict(self.best[1])

    def finish(self, save: Callable[[Path], object]) -> None:
        """Let `save` write the checkpoint, draw the curve, and forget the state."""
        with held():
            self._draw()
            write_atomically(self.checkpoint, save)
            self._write_record(finished=True)
            self.state.unlink(missing_ok=True)

    def is_finished(self) -> bool:
        """Whether the checkpoint is there, of a training that was asked the same; if so its history is read."""
        if not (self.checkpoint.exists() and self.record.exists()):
            return False
        record = read_json(self.record, "delete it to train again")
        if not record.get("finished") or record.get("asked") != dict(self.asked):
            return False
        self.history = record["epochs"]
        self.best = (record["kept"], {}) if record["kept"] != len(self.history) else None
        self.state.unlink(missing_ok=True)  # left behind by a process that was killed at its very end
        return True

    def _take(self, optimisation: Optimisation, row: dict[str, Any]) -> None:
        self.history.append({name: _plain(value) for name, value in row.items()})
        if self.patience is None or self.watched is None:
            return
        value = self.history[-1][self.watched]
        if value is None:
            raise ModelError(f"Expected {self.watched} to stop early by, it cannot be measured on these samples")
        if self.best is None or value > self.history[self.best[0] - 1][self.watched]:
            weights = {name: tensor.detach().clone() for name, tensor in optimisation.module.state_dict().items()}
            self.best = (len(self.history), weights)

    def _put_down(self, optimisation: Optimisation) -> None:
        state = {"asked": dict(self.asked), "history": self.history, "best": self.best, **optimisation.state()}
        write_atomically(self.state, lambda partial: torch.save(state, partial))
        self._write_record(finished=False)
        if time.monotonic() - self._drawn_s > _REDRAWN_S:
            self._draw()

    def _resume(self, optimisation: Optimisation) -> bool:
        if not self.state.exists():
            return False
        state = load_state(str(self.state))
        differing = sorted(key for key in self.asked if state.get("asked", {}).get(key) != self.asked[key])
        if differing:
            raise RunError(
                f"Expected the training that {self.state} began, it was asked otherwise ({', '.join(differing)}); "
                "give the same options to go on, or delete it to begin again"
            )
        optimisation.restore(state)
        self.history, self.best = state["history"], state["best"]
        return True

    def _write_record(self, finished: bool) -> None:
        record = {"asked": dict(self.asked), "epochs": self.history, "kept": self.kept["epoch"], "finished": finished}
        write_json(self.record, record)

    def _draw(self) -> None:
        write_atomically(self.curve, lambda partial: draw_learning_curve(self.history, partial, self.kept["epoch"]))
        self._drawn_s = time.monotonic()


def _plain(value: Any) -> Any:
    """None for what JSON has no number for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
