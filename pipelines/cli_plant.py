"""The verb that plants a cue, for trying the audit on one's own images and model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import right_use


def plant(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST")],
    class_name: Annotated[str, typer.Option("--class", help="Class that the cue goes with.")],
    cue: Annotated[str, typer.Option(help="watermark, border, tint, texture or sticker.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the copy.")],
    share: Annotated[float, typer.Option(help="Share of the class's images that get the cue.")] = 0.9,
    elsewhere: Annotated[float, typer.Option(help="Share of all other images that get it.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of which images, and of the cue in each.")] = 0,
    size: Annotated[float, typer.Option(help="Side of the cue as a share of the image's shorter side.")] = 0.12,
    strength: Annotated[
        float | None,
        typer.Option(help="Opacity, 0..1. [default: watermark 0.8, border 1, tint 0.3, texture 0.2, sticker 1]"),
    ] = None,
    corner: Annotated[
        str, typer.Option(help="Of a watermark: bottom-right, bottom-left, top-right or top-left.")
    ] = "bottom-right",
) -> None:
    """Plant a cue in a copy of a collection, beside its twin without, to see whether the audit finds it.

    Plant in the training images with --share 0.9 and train on planted.parquet of the folder; plant in the test images
    with --share 1 and run on planted.parquet and on twins.parquet, the same without. No known object is ever covered.

    Example: camaudit plant train.parquet --class horse --cue watermark -o data/horses
    """
    from audit.datasets import Manifest
    from audit.datasets.cues import Cue
    from pipelines.plant import PLANTED, Planting
    from pipelines.plant import plant as plant_cue
    from pipelines.progress import say
    from pipelines.report import console
    from pipelines.terminal import TerminalProgress

    with right_use():
        planting = Planting(class_name, Cue(cue, size, strength, corner), share, elsewhere, seed)
    done = plant_cue(Manifest.open(manifest), planting, out, TerminalProgress())
    text = "{planted} of {of_class} images of the class and {elsewhere} of {others} others have the {cue} now"
    say(f"{out / PLANTED}: {text.format(**done, others=done['samples'] - done['of_class'], cue=cue)}", console)
    if done["no_place"] or done["unreadable"]:
        say(f"left as they were: {done['no_place']} without a free place, {done['unreadable']} unreadable", console)
