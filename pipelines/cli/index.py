"""The verbs of `camaudit index`: a data set in, its manifest out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options.common import no_folder
from pipelines.cli.options.groups import Verb, on_this_machine
from pipelines.cli.printing import line, print_opening
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.datasets import Listing, ManifestFile

index_app = typer.Typer(no_args_is_help=True, help="Index a data set: write its manifest.", rich_markup_mode=None)

Out = Annotated[
    str, typer.Option("--out", "-o", callback=no_folder, help="Manifest to write (Parquet), or the URL of one.")
]
MaskKind = Literal["index", "binary"]
Check = Annotated[bool, typer.Option("--check/--no-check", help="Open the first and 50 random images and masks.")]


@index_app.command("voc", cls=Verb)
@on_this_machine
def index_voc(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="A VOCdevkit or a VOC2012 folder.")],
    out: Out,
    split: Annotated[str, typer.Option(help="A list of ImageSets, as train, val, trainval.")] = "trainval",
    check: Check = True,
) -> None:
    """Index PASCAL VOC.

    Example: camaudit index voc VOCdevkit --split val -o val.parquet
    """
    from audit.datasets import is_segmentation, list_voc

    listing = list_voc(root, split=split, progress=TerminalProgress())
    _write(listing, out, check, expects_masks=is_segmentation(root, split))


@index_app.command("coco", cls=Verb)
@on_this_machine
def index_coco(
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="instances_*.json")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of the images.")],
    out: Out,
    check: Check = True,
) -> None:
    """Index COCO instances.

    Example: camaudit index coco instances_val2017.json val2017 -o coco.parquet
    """
    from audit.datasets import list_coco

    _write(list_coco(annotations, images, progress=TerminalProgress()), out, check)


@index_app.command("folder", cls=Verb)
@on_this_machine
def index_folder(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Class subfolders, or images beside one another.")],
    out: Out,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks with the same relative names, .png.")] = None,
    mask_kind: Annotated[MaskKind, typer.Option(help="binary: non-zero is the object.")] = "binary",
    check: Check = True,
) -> None:
    """Index a folder of images.

    Example: camaudit index folder photos --masks masks -o photos.parquet
    """
    from audit.datasets import list_folder

    listing = list_folder(root, masks=masks, mask_kind=mask_kind, progress=TerminalProgress())
    _write(listing, out, check, expects_masks=masks is not None)


@index_app.command("table", cls=Verb)
@on_this_machine
def index_table(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV or Parquet with a column `path`.")],
    out: Out,
    root: Annotated[str | None, typer.Option(help="Folder or URL of the paths. [default: the table's]")] = None,
    mask_kind: Annotated[MaskKind, typer.Option(help="index: as in PASCAL VOC.")] = "index",
    check: Check = True,
) -> None:
    """Index a table with columns path, labels, mask.

    Every other column is an attribute.

    Example: camaudit index table photos.csv --root s3://bucket/photos -o photos.parquet
    """
    from audit.datasets import list_table

    _write(list_table(table, root=root, mask_kind=mask_kind, progress=TerminalProgress()), out, check)


def _write(listing: Listing, out: str, check: bool, expects_masks: bool = False) -> None:
    """Write a manifest as its samples come; it gets its name unless a look at its files says that it is of no use."""
    from audit.store.storage.files import made_beside
    from audit.store.storage.granted import check_writable
    from audit.store.storage.objects import location

    place = location(out)
    check_writable(place.parent)
    with made_beside(place) as partial:
        manifest = listing.save(partial)
        if check:
            _check(manifest, expects_masks)
    line(f"{out}: {len(manifest)} samples, {len(manifest.classes)} classes, fingerprint {manifest.fingerprint}")


def _check(manifest: ManifestFile, expects_masks: bool) -> None:
    """Print what is seen of the files; refuse where no image opens, or no mask where there should be some."""
    from audit.datasets import try_opening
    from audit.errors import ManifestError

    opening = try_opening(manifest, progress=TerminalProgress())
    expects_masks = expects_masks or opening.masks.listed > 0
    print_opening(opening, expects_masks)
    missing = "images" if not opening.images.opened else "masks" if expects_masks and not opening.masks.opened else None
    if missing:
        raise ManifestError(
            f"Expected {missing} that open, found none, so nothing was written; correct the paths, "
            "or write it all the same with --no-check"
        )
