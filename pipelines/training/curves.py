"""The learning curve as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#0b6e4f", "#c8701d", "#7a7a7a")


def draw_learning_curve(epochs: Sequence[Mapping[str, Any]], path: Path, kept: int) -> None:
    """Draw what was measured after each epoch as a PNG: losses on the left, shares from 0 to 1, if any, on the right.

    Args:
        epochs: each with its number, `epoch`, and what was measured; None where that could not be.
        kept: number of the epoch whose weights the checkpoint holds.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in epochs[-1] if name not in ("epoch", "learning_rate")]
    losses = [name for name in names if name.endswith("loss")]
    shares = [name for name in names if name not in losses]
    figure = Figure(figsize=(5 * (1 + bool(shares)), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 1 + bool(shares), squeeze=False)[0]
    _draw_panel(panels[0], epochs, losses, kept)
    if shares:
        _draw_panel(panels[1], epochs, shares, kept)
        panels[1].set_ylim(0, 1)
    figure.savefig(path, format="png", dpi=120)


def _draw_panel(panel: Axes, epochs: Sequence[Mapping[str, Any]], names: Sequence[str], kept: int) -> None:
    numbers = [row["epoch"] for row in epochs]
    for name, colour in zip(names, _COLOURS, strict=False):
        values = [float("nan") if row[name] is None else row[name] for row in epochs]
        panel.plot(numbers, values, ".-", color=colour, label=name.replace("_", " "))
    panel.axvline(kept, color="#bbbbbb", linewidth=1, label="kept", zorder=0)
    panel.set_xlabel("epoch")
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
