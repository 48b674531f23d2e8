"""Verbs that write what was found: findings, report, export."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options.common import Json, MaskThreshold, RunPath, Wide, names, no_folder, right_use
from pipelines.cli.options.groups import ClusterOptions, LabelSetOptions, ReachOptions, spread
from pipelines.cli.printing import line, print_findings, print_json
from pipelines.terminal import TerminalProgress

_FORMATS = (
    "Pseudo-masks: voc-png, voc, coco, coco-components, coco-panoptic, mask-table, npz, zarr, cvat, fiftyone, yolo, "
    "label-studio. Findings: csv, parquet. What reviewers decided: verdicts (csv or json), verdicts-coco, "
    "verdicts-fiftyone."
)


def findings(
    run_path: RunPath,
    most: Annotated[int, typer.Option(min=0, help="Claims, and findings about targets, to print.")] = 20,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Print the classes and targets that look off the object.

    Example: camaudit findings runs/val --most 50
    """
    from audit.findings import Findings
    from audit.store import Run

    opened = Run.open(run_path)
    if as_json:
        from audit.export import findings_record

        print_json(findings_record(opened))
    else:
        print_findings(Findings(opened), most, wide)


@spread
def report(
    run_path: RunPath,
    images: ReachOptions,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", callback=no_folder, help="Page, or its URL. [default: RUN/report/index.html]"),
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Claims, and images, to show with pictures.")] = 12,
) -> None:
    """Write what was found as one HTML page that works offline.

    With its pictures and its limits. Contact sheets of the clusters found go into RUN/report/sheets. Images and masks
    are read below the manifest's root alone; of those that cannot be read the map is drawn on grey.

    Example: camaudit report runs/val -o val.html
    """
    from audit.report import draw_sheets, write_report
    from audit.store import Run
    from audit.store.storage.objects import location

    opened, progress, reach = Run.open(run_path), TerminalProgress(), images.reach()
    line(str(write_report(opened, None if out is None else location(out), most, progress, reach)))
    for sheet in draw_sheets(opened, progress, reach):
        line(str(sheet))


@spread
def export(
    run_path: RunPath,
    label_set: LabelSetOptions,
    cluster: ClusterOptions,
    kind: Annotated[str, typer.Option("--format", help=_FORMATS)],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder of masks, or file of findings or verdicts; or a URL of one.")
    ],
    threshold: MaskThreshold = None,
    roles: Annotated[str, typer.Option(help="Targets that make pseudo-masks.")] = "label",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over an earlier export.")] = False,
) -> None:
    """Write pseudo-masks, findings or verdicts for other tools.

    An export of masks that was interrupted is gone on with by the same command. That of a small run is written by this
    process, unless workers are asked for.

    Example: camaudit export runs/val --format voc-png -o masks
    """
    from audit.export import LABEL_FORMATS, export_run
    from audit.store import Run
    from audit.store.storage.objects import address, location
    from pipelines.run.config import known_roles, mapped_roles
    from pipelines.run.export import over_workers

    with right_use():
        chosen = known_roles(names(roles))
    # Workers start elsewhere, so they are told absolute paths.
    run, masks = Run.open(address(run_path)), label_set.masks(threshold, chosen)
    if kind in LABEL_FORMATS and label_set.labels is None:
        mapped_roles(run, chosen)
    place = location(out)
    spread_over = over_workers(cluster.config(), run, place)
    line(export_run(run, kind, place, masks, TerminalProgress(), overwrite, spread_over))
