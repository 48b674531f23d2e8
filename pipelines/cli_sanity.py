"""The verb that checks whether methods explain a run's model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def sanity(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")],
    method: Annotated[
        list[str] | None, typer.Option(help="Method to check; may be given several times. [default: the run's]")
    ] = None,
    sample: Annotated[int, typer.Option(help="Images, taken evenly over the run.")] = 16,
    model: Annotated[
        str | None, typer.Option(help="The run's model named again; needed where it is code, as FILE.py:function.")
    ] = None,
    stages: Annotated[int, typer.Option(help="Steps in which the network is randomised, at most.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Randomise the model's layers from the output down: a method whose maps hardly change does not explain it.

    After Adebayo et al. (2018). Writes RUN/report/sanity.json and sanity.png.

    Example: camaudit sanity runs/val --method gradcam --method eigencam
    """
    from pipelines.sanity import SanityCheck, check_sanity, print_sanity

    try:
        check = SanityCheck(tuple(method or ()), model, sample, stages, seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    record = check_sanity(run_path, check)
    typer.echo(json.dumps(record, indent=1)) if as_json else print_sanity(record, run_path)
