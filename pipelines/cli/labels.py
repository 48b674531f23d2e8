"""Verbs about weak segmentation labels: labels."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.asked import Labelling
from pipelines.cli.options.common import Json, RunPath, Wide, names, right_use
from pipelines.cli.options.groups import ClusterOptions, spread
from pipelines.cli.printing import line, print_json, print_labels
from pipelines.terminal import TerminalProgress

NAME = "labels"


@spread
def labels(
    run_path: RunPath,
    cluster: ClusterOptions,
    name: Annotated[str, typer.Option(help="Of the label set; one run may have several.")] = NAME,
    refine: Annotated[
        str,
        typer.Option(help="Steps in order, as superpixel,pamr; options as pamr:steps=20."),
    ] = Labelling.refine,
    roles: Annotated[str, typer.Option(help="Targets that make labels: any of label,predicted,runner_up")] = ",".join(
        Labelling.roles
    ),
    least: Annotated[
        float, typer.Option(help="Probability that a class needs to take part, where labels are predicted.")
    ] = Labelling.least,
    evidence: Annotated[
        float, typer.Option(help="Power at which maps of low peaks count for less; 0.6 for sums over sizes.")
    ] = Labelling.evidence,
    learn_from: Annotated[
        str | None,
        typer.Option(metavar="RUN[:NAME]", help="Label set whose confident heat the step learnt is trained on."),
    ] = Labelling.learn_from,
    model: Annotated[
        str | None, typer.Option(help="The run's model named again, where it is code and a step reads it.")
    ] = Labelling.model,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Make weak segmentation labels from a run's maps.

    Maps are brought to the image's size, refined, and kept without a threshold in RUN/labels/NAME. Where masks are
    known it says how good they are, by threshold and by confidence. `camaudit export --labels NAME` writes them.

    Example: camaudit labels runs/val --refine superpixel,pamr
    """
    from audit.store import Run
    from pipelines.run.config import known_roles, mapped_roles

    with right_use():
        asked = Labelling(refine, known_roles(names(roles)), least, evidence, _whole(learn_from), model)
    mapped_roles(Run.open(run_path), asked.roles)
    record = _make(run_path, name, asked, cluster)
    if as_json:
        print_json(record)
    else:
        print_labels(record, wide)
        line(f"next: camaudit export {run_path} --labels {name} --format voc-png -o masks")


def _whole(label_set: str | None) -> str | None:
    """RUN:NAME, the path absolute and the name that labels have unless told otherwise."""
    if label_set is None:
        return None
    from audit.store.label_store import run_and_name
    from audit.store.storage.objects import address

    run, name = run_and_name(label_set)
    return f"{address(run)}:{name or NAME}"


def _make(run_path: RunPath, name: str, asked: Labelling, cluster: ClusterOptions) -> dict[str, Any]:
    from pipelines.labels.make import account, make_labels
    from pipelines.labels.quality import quality_record

    progress = TerminalProgress()
    store = make_labels(run_path, name, asked, cluster.config(), progress)
    return {"labels": str(store.path), **account(store), **quality_record(store, progress)}
