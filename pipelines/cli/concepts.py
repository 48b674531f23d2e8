"""Verbs that show what is seen: the channels and concepts that heat comes from, and what is like a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.asked import ConceptSearch
from pipelines.cli.groups import ReachOptions, spread
from pipelines.cli.options import Device, Json, ModelAgain, RunPath, Wide, right_use
from pipelines.cli.printing import print_alike, print_channels, print_concepts, print_json
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.datasets.reach import Reach
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
        int, typer.Option(min=0, help="So many concepts instead, for which images are read again.")
    ] = 0,
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
    their heat is factorised; concepts are ranked by what the class's logit loses without them.

    Example: camaudit units data/runs/demo --class disc
    """
    from audit.store import Run

    run, reach = Run.open(run_path), images.reach()
    if (words is None) != (clip is None):
        raise typer.BadParameter("Expected --words and --clip together")
    namer = _namer(clip, words) if clip and words else None
    if concepts:
        with right_use():
            asked = ConceptSearch(concepts, seed=seed)
        told = _concepts(run, class_name, claim, most, reach, asked, model, device)
        _name(told, "concepts", namer, run, reach)
        print_json(told) if as_json else print_concepts(told, wide)
        return
    record = _of_class(run, class_name, most, reach) if class_name else _of_claims(run, claim, most, reach)
    for part in record.values():
        _name(part, "channels", namer, run, reach)
    print_json(record) if as_json else print_channels(record, wide)


def _namer(clip: str, words: str) -> Namer:
    from pipelines.experiments.words import load_namer, words_of

    return load_namer(clip, words_of(words), TerminalProgress())


def _name(told: list[dict[str, Any]], what: str, namer: Namer | None, run: Run, reach: Reach) -> None:
    """Give each channel or concept its nearest words, where somebody names them."""
    from dataclasses import asdict

    from audit.concepts.patches import PatchReader

    reader = PatchReader(run, reach)
    for row in (row for part in told for row in part[what]):
        targets = row["patches"]["targets"] if "patches" in row else row["targets"]
        found = namer.name(reader, [tuple(target) for target in targets]) if namer else []
        row["words"] = [asdict(word) for word in found]


def _concepts(
    run: Run,
    class_name: str | None,
    claim_id: str | None,
    most: int,
    reach: Reach,
    asked: ConceptSearch,
    model: str | None,
    device: str,
) -> list[dict[str, Any]]:
    """Concepts of a class, or of claims: the model is asked again."""
    from audit.concepts.channels import claims_asked, class_asked
    from audit.concepts.chosen import targets_of_claim, targets_of_class
    from audit.findings import Findings
    from pipelines.cli.checks import opened
    from pipelines.experiments.concepts import find_concepts, tell_concepts

    findings, progress = Findings(run), TerminalProgress()
    if class_name:
        wanted = [(f"class:{class_name}", targets_of_class(findings, class_asked(run, class_name)), False)]
    else:
        claims = claims_asked(findings, claim_id)[:most]
        wanted = [(claim.claim_id, targets_of_claim(findings, claim), True) for claim in claims]
    _, classifier = opened(str(run.path), model, device)
    return [
        tell_concepts(run, reach, name, find_concepts(run, classifier, targets, asked, off, progress))
        for name, targets, off in wanted
    ]


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
    """Show what is like a sample, under its heat and as a whole.

    Under the heat: off the object, where one is known, by the features that the run kept. As a whole: by what the
    network saw of it. The sheet is written to RUN/report/channels.

    Example: camaudit like data/runs/demo test_00000
    """
    from audit.concepts.alike import tell_alike
    from audit.store import Run

    record = tell_alike(Run.open(run_path), sample, most, images.reach())
    print_json(record) if as_json else print_alike(record)
