"""Verbs that bring or make images and truth: fetch, scenes, plant, grade, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.asked import Planting
from pipelines.cli.options.common import DefaultOf, Json, ManifestPath, RunPath, Wide, numbers_of, right_use
from pipelines.cli.printing import line, print_demonstration, print_graded, print_json, print_planted
from pipelines.run.config import ClusterConfig
from pipelines.terminal import TerminalProgress

_CUE = "audit.datasets.cues:Cue"
_KINDS = "watermark, border, tint, grey, texture, sticker, caption, frame or letterbox"
_GRADING = "audit.findings.grading:Grading"


def fetch(
    dataset: Annotated[str, typer.Argument(help="voc2012")],
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
) -> None:
    """Download a data set through torchvision.

    Example: camaudit fetch voc2012 data
    """
    if dataset != "voc2012":
        raise typer.BadParameter(f"Expected voc2012, got {dataset!r}")
    _download_voc(folder)
    line(f"{folder / 'VOCdevkit'}: index it with: camaudit index voc {folder / 'VOCdevkit'} -o voc.parquet")


def _download_voc(folder: Path) -> None:
    from torchvision.datasets import VOCSegmentation

    from audit.errors import AuditError

    try:
        VOCSegmentation(str(folder), year="2012", image_set="trainval", download=True)
    except (OSError, RuntimeError) as error:
        raise AuditError(f"Cannot download VOC 2012 to {folder}: {error}") from None


def plant(
    manifest: ManifestPath,
    class_name: Annotated[str, typer.Option("--class", help="Class that the cue goes with.")],
    cue: Annotated[str, typer.Option(help=f"{_KINDS}.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the copy.")],
    *,
    share: Annotated[float, typer.Option(help="Share of the class's images that get the cue.")] = Planting.share,
    elsewhere: Annotated[float, typer.Option(help="Share of all other images that get it.")] = Planting.elsewhere,
    seed: Annotated[int, typer.Option(help="Of which images, and of the cue in each.")] = Planting.seed,
    size: Annotated[
        float,
        typer.Option(
            default_factory=DefaultOf(_CUE, "size"), help="Side of the cue as a share of the image's shorter side."
        ),
    ],
    strength: Annotated[
        float | None,
        typer.Option(help="Opacity, 0..1. [default: watermark 0.8, tint 0.3, texture 0.2, all others 1]"),
    ] = None,
    corner: Annotated[
        str,
        typer.Option(
            default_factory=DefaultOf(_CUE, "corner"),
            help="Of a watermark: bottom-right, bottom-left, top-right or top-left.",
        ),
    ],
    height: Annotated[
        float,
        typer.Option(
            default_factory=DefaultOf(_CUE, "height"), help="Of a caption's middle: from 0, the top, to 1, the bottom."
        ),
    ],
) -> None:
    """Plant a cue in a copy of a collection, beside its twin.

    To see whether the audit finds it. Plant in the training images with --share 0.9 and train on planted.parquet of
    the folder; plant in the test images with --share 1 and run on planted.parquet and on twins.parquet, the same
    without. Captions, frames and letterboxes lie over everything; no other cue covers a known object.

    Example: camaudit plant train.parquet --class horse --cue watermark -o data/horses
    """
    from audit.datasets import Manifest
    from audit.datasets.cues import Cue
    from audit.store.storage.objects import location
    from pipelines.planted.plant import PLANTED
    from pipelines.planted.plant import plant as plant_cue

    with right_use():
        planting = Planting(class_name, Cue(cue, size, strength, corner, height), share, elsewhere, seed)
    counts = plant_cue(Manifest.open(location(manifest)), planting, out, TerminalProgress())
    print_planted(out / PLANTED, cue, counts)


def scenes(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder.")],
    *,
    shortcuts: Annotated[bool, typer.Option("--shortcuts", help="Three of the six classes come with a cue.")] = False,
    train: Annotated[int, typer.Option(min=6, help="Scenes to train on.")] = 3000,
    val: Annotated[int, typer.Option(min=6, help="Scenes to score on.")] = 300,
    size: Annotated[int, typer.Option(min=48, help="Side of a scene, pixels.")] = 96,
    seed: Annotated[int, typer.Option(min=0, help="Everything follows from it.")] = 0,
) -> None:
    """Draw scenes with masks, to try things on.

    Laid out as PASCAL VOC, with the manifests train.parquet and val.parquet.

    Example: camaudit scenes data/scenes
    """
    from dataclasses import replace

    from audit.datasets import read_voc
    from audit.datasets.planted import PlantedSpec, draw_planted

    spec = PlantedSpec(seed, train, val, size)
    spec = spec if shortcuts else replace(spec, cue_share=0.0)
    draw_planted(folder, spec, TerminalProgress())
    for name, split in {"train": "train", "val": "val" if shortcuts else "twins"}.items():
        line(str(read_voc(folder, split=split).save(folder / f"{name}.parquet")))


def grade(
    run_path: RunPath,
    class_name: Annotated[
        list[str] | None, typer.Option("--class", help="Class; may be given several times. [default: all]")
    ] = None,
    shares: Annotated[
        str | None, typer.Option(help="Shares of a class's images that are tried. [default: 0.1,0.2 and so on to 1]")
    ] = None,
    painted: Annotated[
        str | None,
        typer.Option(help="Run of the same images with a cue planted, to ask the model with."),
    ] = None,
    *,
    draws: Annotated[
        int, typer.Option(min=1, default_factory=DefaultOf(_GRADING, "draws"), help="Draws for each class and kind.")
    ],
    seed: Annotated[
        int, typer.Option(min=0, default_factory=DefaultOf(_GRADING, "seed"), help="Of images and places.")
    ],
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Plant graded shortcuts in a run's heat: which are found?

    What would have been found is said by formula in `camaudit findings`. This tries it on your own collection: in more
    and more of a class's images the heat is moved off the object, to one place, and the claims are tested again. Over
    the run's tables alone: neither images nor the model are asked, and nothing is written. With --painted the model was
    asked: images of a run on what `camaudit plant --share 1` painted take the place of one's own.

    Example: camaudit grade runs/val --class train --shares 0.2,0.4,0.6
    """
    from audit.findings.grading import Grading, grade_run
    from audit.store import Run

    run = Run.open(run_path)
    with right_use():
        chosen = {} if shares is None else {"shares": numbers_of(shares)}
        asked = Grading(tuple(class_name or ()), draws=draws, seed=seed, **chosen)
        asked.check(run.classes)
    shown = None if painted is None else Run.open(painted)
    graded = grade_run(run, asked, TerminalProgress(), shown)
    print_json(graded.record()) if as_json else print_graded(graded, wide)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the run.")] = Path("data/runs/demo"),
    scenes: Annotated[Path, typer.Option(help="Folder of the scenes.")] = Path("data/planted"),
    *,
    seed: Annotated[
        int,
        typer.Option(
            default_factory=DefaultOf("audit.datasets.planted:PlantedSpec", "seed"), help="Everything follows from it."
        ),
    ],
    workers: Annotated[int, typer.Option(min=1, help="Processes of the local cluster.")] = 2,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training scenes.")] = 8,
    wide: Wide = False,
) -> None:
    """Plant shortcuts, train, audit: findings beside the truth.

    Scenes are drawn, a small network is trained on them, and its audit is shown beside what was planted.

    Example: camaudit demo
    """
    from audit.datasets.planted import PlantedSpec
    from pipelines.planted.demo import demo as run_demo

    with right_use():
        spec = PlantedSpec(seed=seed)
    print_demonstration(run_demo(out, scenes, spec, ClusterConfig(workers), epochs, TerminalProgress()), wide)
