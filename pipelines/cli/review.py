"""The verbs of `camaudit review`: how far reviewers have come, and verdicts of another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options.common import Json, RunPath, Wide
from pipelines.cli.options.groups import Verb, on_this_machine
from pipelines.cli.printing import line, print_json, print_review

if TYPE_CHECKING:
    from audit.store.verdicts.log import VerdictLog

review_app = typer.Typer(
    no_args_is_help=True, help="Tell what reviewers decided, and merge their logs.", rich_markup_mode=None
)


@review_app.command("status", cls=Verb)
@on_this_machine
def review_status(
    run_path: RunPath,
    most: Annotated[int, typer.Option(min=0, help="Claims, and disputed subjects, to print.")] = 20,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Tell how far reviewers are, how precise flags are, and where they disagree.

    The precision of a claim's flags is an interval that holds however often one looks: stop when it says enough.

    Example: camaudit review status runs/val
    """
    from audit.findings import Findings
    from audit.review import review_of
    from audit.store import Run
    from audit.store.verdicts.log import VerdictLog

    run = Run.open(run_path)
    review = review_of(Findings(run), VerdictLog.of(run))
    print_json(review.plain()) if as_json else print_review(review, most, wide)


@review_app.command("import", cls=Verb)
@on_this_machine
def review_import(
    run_path: RunPath,
    log: Annotated[str, typer.Argument(metavar="LOG", help="Another log's verdicts.sqlite, or the run it lies in.")],
) -> None:
    """Add the verdicts of another machine's log, each once.

    The other log must be about the same images, model and maps; it stays as it is.

    Example: camaudit review import runs/val /mnt/laptop/runs/val
    """
    from collections import Counter

    from audit.store import Run
    from audit.store.verdicts.log import VerdictLog

    run = Run.open(run_path)
    own = VerdictLog.of(run)
    came = own.merge(_log_at(log))
    if not came:
        line(f"nothing new in {log}")
    for reviewer, rows in Counter(verdict.reviewer for verdict in came).most_common():
        line(f"{rows:,} rows of {reviewer}")
    if came:
        line(f"{len(came):,} rows are new in {own.path}")


def _log_at(log: str) -> VerdictLog:
    """The log that is meant: a file, which beside its run's record is known to be that run's; or a run's."""
    from audit.store import Run, layout
    from audit.store.storage.objects import location
    from audit.store.verdicts.log import VerdictLog

    place = location(log)
    folder = place if place.is_dir() else place.parent
    of_run = (folder / layout.RUN_JSON).exists() and (place.is_dir() or place.name == layout.VERDICTS)
    return VerdictLog.of(Run.open(folder)) if of_run else VerdictLog(log)
