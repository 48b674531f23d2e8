"""Verbs that show what is seen: the channels and concepts that heat comes from, and what is like a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.asked import ConceptSearch
from pipelines.cli.options.common import Device, Json, ModelAgain, RunPath, Wide, right_use
from pipelines.cli.options.groups import ReachOptions, spread
from pipelines.cli.printing import print_alike, print_channels, print_concepts, print_json
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.datasets.reach import Reach
    from audit.findings import Claim
    from audit.models import Classifier
    from audit.store import Run
    from pipelines.experiments.words import Namer

ClassName = Annotated[str | None, typer.Option("--class", help="Class whose channels are shown.")]


@spread
def units(
    run_path: RunPath,
    images: ReachOptions,
    class_name: ClassName = None,
    claim: Annotated[str | None, typer.Option(help="Claim whose channels are shown. [default: all that stand]")] = None,
    most: Annotated[int, typer.Option(min=1, help="Channels of a class, or claims, to show.")] = 5,
    concepts: Annotated[
        int, typer.Option(min=0, help="So many concepts instead, for which images are read again. They are kept.")
    ] = 0,
    way: Annotated[
        str, typer.Option(help="How concepts are found: nmf, parts that only add up; pca, class-wise components.")
    ] = "nmf",
    model: ModelAgain = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the images that concepts are found in.")] = 0,
    device: Device = "auto",
    words: Annotated[
        str | None, typer.Option(help="File of words, one a line, or builtin: name patches by them. Needs --clip.")
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="CLIP of open_clip, as ViT-B-32:laion2b_s34b_b79k. [needs open_clip_torch]")
    ] = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Show what heat lies on: channels or concepts, by patches.

    Of a claim: those that set its heat off the object apart from the rest of the class. Of a class: those that carry
    most of its heat. Each with the nine images in which it carries most, cut out at that place; the sheets are
    written to RUN/report/channels. With --concepts up to 300 images are read again, and what the layer holds under
    their heat is factorised; concepts are ranked by what the class's logit loses without them. The run keeps them: the
    report, the dashboard and findings --json show them, until the run changes.

    Example: camaudit units data/runs/demo --class disc
    """
    from audit.store import Run

    run, reach = Run.open(run_path), images.reach()
    if (words is None) != (clip is None):
        raise typer.BadParameter("Expected --words and --clip together")
    namer = _namer(clip, words) if clip and words else None
    if concepts:
        with right_use():
            asked = ConceptSearch(concepts, seed=seed, way=way)
        found = _concepts(run, _wanted(run, class_name, claim, most), reach, asked, (model, device), namer)
        print_json(found) if as_json else print_concepts(found, wide)
        return
    record = _of_class(run, class_name, most, reach) if class_name else _of_claims(run, claim, most, reach)
    for part in record.values():
        _name(part, namer, run, reach)
    print_json(record) if as_json else print_channels(record, wide)


def _namer(clip: str, words: str) -> Namer:
    from pipelines.experiments.words import load_namer, words_of

    return load_namer(clip, words_of(words))


def _name(told: list[dict[str, Any]], namer: Namer | None, run: Run, reach: Reach) -> None:
    """Give each channel its nearest words, where somebody names them."""
    from dataclasses import asdict

    from audit.concepts.patches import PatchReader

    reader = PatchReader(run, reach)
    for row in (row for part in told for row in part["channels"]):
        targets = row["patches"]["targets"] if "patches" in row else row["targets"]
        found = namer.name(reader, [tuple(target) for target in targets]) if namer else []
        row["words"] = [asdict(word) for word in found]


def _wanted(run: Run, class_name: str | None, claim_id: str | None, most: int) -> list[Claim | str]:
    """The class whose concepts are asked for, or the claims."""
    from audit.concepts.channels import claims_asked
    from audit.findings import Findings

    return [class_name] if class_name else list(claims_asked(Findings(run), claim_id)[:most])


def _concepts(
    run: Run,
    wanted: Sequence[Claim | str],
    reach: Reach,
    asked: ConceptSearch,
    model: tuple[str | None, str],
    namer: Namer | None,
) -> list[dict[str, Any]]:
    """Concepts of a class, or of claims, as the run keeps them from now on.

    Args:
        model: named again, and its device; it is asked where concepts are to be found.
    """
    from functools import cache

    from audit.concepts.kept import Concepts
    from audit.concepts.patches import PatchReader
    from audit.concepts.shown import tell_concepts
    from audit.findings import Findings
    from pipelines.cli.checks import opened
    from pipelines.experiments.kept_concepts import keep_concepts, name_concepts

    concepts, reader, progress = Concepts(Findings(run)), PatchReader(run, reach), TerminalProgress()

    @cache
    def classifier() -> Classifier:
        return opened(str(run.path), *model)[1]

    told = []
    for each in wanted:
        kept = keep_concepts(concepts, each, asked, classifier, progress)
        kept = name_concepts(concepts, kept, namer, reader) if namer else kept
        told.append(tell_concepts(kept, reader))
    return told


def _of_class(run: Run, name: str, most: int, reach: Reach) -> dict[str, Any]:
    from audit.concepts.carrying import carrying_channels
    from audit.concepts.channels import class_asked, plain, strip_of_class, write_sheet
    from audit.concepts.patches import PatchReader
    from audit.findings import Findings

    unit, reader = Findings(run).rules().unit, PatchReader(run, reach)
    rows = carrying_channels(run, class_asked(run, name), unit, most, TerminalProgress())
    sheet = write_sheet(run, f"class:{name}", [strip_of_class(row, reader) for row in rows])
    return {"classes": [{"class": name, "channels": plain(rows), "sheet": str(sheet) if sheet else None}], "claims": []}


def _of_claims(run: Run, claim_id: str | None, most: int, reach: Reach) -> dict[str, Any]:
    from audit.concepts.channels import channels_by_claim, claims_asked, strip_of_claim, write_sheet
    from audit.concepts.patches import PatchReader
    from audit.findings import Findings

    findings, reader = Findings(run), PatchReader(run, reach)
    channels, told = channels_by_claim(findings), []
    for claim in claims_asked(findings, claim_id)[:most]:
        rows = channels.get(claim.claim_id, [])
        sheet = write_sheet(run, claim.claim_id, [strip_of_claim(row, reader) for row in rows])
        told.append(
            {
                "claim_id": claim.claim_id,
                "says": claim.says,
                "channels": [row.plain() for row in rows],
                "sheet": str(sheet) if sheet else None,
            }
        )
    return {"classes": [], "claims": told}


@spread
def like(
    run_path: RunPath,
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="Id of a sample.")],
    images: ReachOptions,
    most: Annotated[int, typer.Option(min=1, help="Neighbours to show of each sort.")] = 9,
    as_json: Json = False,
) -> None:
    """Show what is like a sample: in its heat, and in its looks.

    Under the heat: off the object, where one is known, by the features that the run kept. In all its heat: by the
    channels that carry most of it. In its looks: by what the network saw. The sheet is written to RUN/report/channels.

    Example: camaudit like data/runs/demo test_00000
    """
    from audit.concepts.alike import tell_alike
    from audit.store import Run

    record = tell_alike(Run.open(run_path), sample, most, images.reach())
    print_json(record) if as_json else print_alike(record)
