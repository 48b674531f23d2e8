"""The verb that holds two runs side by side."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pipelines.cli.options.common import Json, Wide
from pipelines.cli.printing import print_comparison, print_json
from pipelines.terminal import TerminalProgress


def compare(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="Directory or URL of the run before.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="Directory or URL of the run after.")],
    fail_on: Annotated[
        Literal["worse"] | None,
        typer.Option(help="worse: exit 1 if a share rose by more than chance: off the object, or of a claim's images."),
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Findings about targets to print.")] = 10,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Compare two runs over the same samples.

    Two models, or two versions of the data. Differences are B less A, paired by sample and class, with 95 % intervals
    over images. For a gate in CI use --fail-on worse: exit 0 not worse, 1 worse (with each reason) or failed, 2 wrong
    use. What is new in B alone is listed, and is no reason: each reason is a paired difference, tested with all others.

    Example: camaudit compare runs/before runs/after --fail-on worse
    """
    from audit.compare import compare_runs
    from audit.store import Run

    record = compare_runs(Run.open(run_a), Run.open(run_b), progress=TerminalProgress())
    print_json(record) if as_json else print_comparison(record, most, wide)
    if fail_on and record["worse"]:
        for reason in record["worse"]:
            typer.echo(f"camaudit: worse: {reason}", err=True)
        raise SystemExit(1)
