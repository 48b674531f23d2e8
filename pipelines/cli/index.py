"""The verbs of `camaudit index`: a data set in, its manifest out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.groups import Verb
from pipelines.cli.printing import line
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.datasets.manifest import Manifest

index_app = typer.Typer(no_args_is_help=True, help="Index a data set: write its manifest.", rich_markup_mode=None)

Out = Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="Manifest to write (Parquet).")]
MaskKind = Literal["index", "binary"]


@index_app.command("voc", cls=Verb)
def index_voc(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="A VOCdevkit or a VOC2012 folder.")],
    out: Out,
    split: Annotated[str, typer.Option(help="A list of ImageSets, as train, val, trainval.")] = "trainval",
) -> None:
    """Index PASCAL VOC.

    Example: camaudit index voc VOCdevkit --split val -o val.parquet
    """
    from audit.datasets import read_voc

    _write(read_voc(root, split=split, progress=TerminalProgress()), out)


@index_app.command("coco", cls=Verb)
def index_coco(
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="instances_*.json")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of the images.")],
    out: Out,
) -> None:
    """Index COCO instances.

    Example: camaudit index coco instances_val2017.json val2017 -o coco.parquet
    """
    from audit.datasets import read_coco

    _write(read_coco(annotations, images, progress=TerminalProgress()), out)


@index_app.command("folder", cls=Verb)
def index_folder(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Class subfolders, or images beside one another.")],
    out: Out,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks with the same relative names, .png.")] = None,
    mask_kind: Annotated[MaskKind, typer.Option(help="binary: non-zero is the object.")] = "binary",
) -> None:
    """Index a folder of images.

    Example: camaudit index folder photos --masks masks -o photos.parquet
    """
    from audit.datasets import read_folder

    _write(read_folder(root, masks=masks, mask_kind=mask_kind, progress=TerminalProgress()), out)


@index_app.command("table", cls=Verb)
def index_table(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV or Parquet with a column `path`.")],
    out: Out,
    root: Annotated[str | None, typer.Option(help="Folder or URL of the paths. [default: the table's]")] = None,
    mask_kind: Annotated[MaskKind, typer.Option(help="index: as in PASCAL VOC.")] = "index",
) -> None:
    """Index a table with columns path, labels, mask.

    Every other column is an attribute.

    Example: camaudit index table photos.csv --root s3://bucket/photos -o photos.parquet
    """
    from audit.datasets import read_table

    _write(read_table(table, root=root, mask_kind=mask_kind, progress=TerminalProgress()), out)


def _write(manifest: Manifest, out: Path) -> None:
    manifest.save(out)
    line(f"{out}: {len(manifest)} samples, {len(manifest.classes)} classes, fingerprint {manifest.fingerprint}")
