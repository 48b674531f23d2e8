"""The verb that places targets by what lies under their heat."""

from __future__ import annotations

from typing import Annotated

import typer

from audit.wording import percent
from pipelines.cli.options.common import RunPath, right_use
from pipelines.cli.printing import line
from pipelines.terminal import TerminalProgress


def embed(
    run_path: RunPath,
    method: Annotated[str, typer.Option(help="pca, tsne, or umap where umap-learn is installed.")] = "pca",
    seed: Annotated[int, typer.Option(min=0, help="Of the sample that is placed, and of the map.")] = 0,
) -> None:
    """Place targets by what lies under their heat.

    Above 50,000 targets a sample of so many is on the map. t-SNE takes minutes then.

    Example: camaudit embed runs/val --method tsne
    """
    from audit.findings.pages.embedding import embed as place
    from audit.store import Run

    with right_use():
        made = place(Run.open(run_path), method, seed, TerminalProgress())
    line(
        f"placed {made.placed:,} of {made.targets:,} targets by what lies under their heat, {made.method}; "
        f"{made.components} principal components hold {percent(made.variance)} of its variance"
    )
