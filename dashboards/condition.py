"""What state a run is in and what to do about it, in plain lines that every page shows before anything else."""

from __future__ import annotations

from audit.findings.pages.unjudged import why_unjudged
from audit.store import Account
from audit.wording import number, shorten
from dashboards.tables import RunTables


def conditions(tables: RunTables) -> list[str]:
    """A line for each thing that keeps a page from being full; none where the run is finished and judged.

    Damage is no condition but a notice of the tables.
    """
    account = tables.account()
    if account is None:
        return []
    lines = [_unfinished(tables, account)] if account.pending else []
    if account.shards_done and not account.processed:
        return [*lines, _all_failed(tables, account)]
    return [*lines, *_judged(tables, account)]


def _unfinished(tables: RunTables, account: Account) -> str:
    if account.shards_done:
        so_far = f"The run is not finished: {number(account.pending)} of {number(account.samples)} samples are pending"
    else:
        so_far = f"No sample was audited yet: all {number(account.samples)} samples are pending"
    later = "" if tables.flagged else ", and findings are made when the run ends"
    now = "" if tables.flagged or not account.processed else f"; those so far: camaudit flag {tables.run.path}"
    command = tables.run.record.get("command", "the command that began it")
    return f"{so_far}{later}{now}. Unless it is still at work, go on with: {command}"


def _all_failed(tables: RunTables, account: Account) -> str:
    (first,) = tables.failures(1) or [{"reason": "unknown"}]
    so_far = " that were tried so far" if account.pending else ""
    return (
        f"All {number(account.failed)} samples{so_far} failed, so there is nothing to judge. "
        f"The first: {shorten(first['reason'], 300)}; others: camaudit status {tables.run.path}"
    )


def _judged(tables: RunTables, account: Account) -> list[str]:
    """Why there are no findings, or not all."""
    path = tables.run.path
    if not account.shards_done:
        return []
    if not tables.scored and not tables.run.record["config"]["scored"]:
        return [
            "The run was begun without scores: no map was compared with an object, so there are no findings. "
            f"Score it with: camaudit score {path}"
        ]
    if tables.flagged:
        return [*_outdated(tables, account), *_without_objects(tables)]
    return [] if account.pending else [f"Nothing was flagged yet. Make the findings with: camaudit flag {path}"]


def _outdated(tables: RunTables, account: Account) -> list[str]:
    if not tables.outdated:
        return []
    if account.outdated:
        so_far = f"{number(account.outdated)} of {number(account.shards_done)} shards have the scores of before"
        return [f"Scoring was interrupted: {so_far}. Go on with: camaudit score {tables.run.path}"]
    flagged = (tables.summary() or {"samples": {}})["samples"].get("processed", 0)
    changed = (
        f"The findings are of {number(flagged)} processed samples, and {number(account.processed)} are processed now"
    )
    if flagged == account.processed:
        changed = "Samples were audited or scored again since the findings were made"
    return [f"{changed}; make them again with: camaudit flag {tables.run.path}"]


def _without_objects(tables: RunTables) -> list[str]:
    scores = (tables.summary() or {}).get("scores")
    why = why_unjudged(scores) if isinstance(scores, dict) else ""
    if not why:
        return []
    return [
        f"{why}. Targets are listed by what needs no mask. Where there are masks or boxes, index the collection with "
        "them and audit it into another directory"
    ]
