"""A run as HTML, for notebooks: what was audited, with what, and how far it is."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from markupsafe import Markup

from audit.errors import AuditError
from audit.html import paragraph, table
from audit.wording import listed, number, shorten

if TYPE_CHECKING:
    from audit.store.run import Run

_WIDEST = 200
"""Characters of a cell."""
_CLASSES = 20


def run_html(run: Run) -> Markup:
    """What was audited, with what, and how far it is; what is damaged is named instead."""
    record = run.record
    try:
        account = run.account()
        counted = ("processed", "failed", "pending")
        done = " + ".join(f"{number(getattr(account, name))} {name}" for name in counted)
        rows = [
            ("run", run.path),
            ("samples", f"{done} = {number(account.samples)}"),
            ("classes", f"{number(len(run.classes))}: {listed(run.classes, _CLASSES)}"),
            ("model", PurePath(str(record["source"]["model"])).name),
            ("method", f"{record['config']['method']} at layer {record['model']['layer']}"),
            ("maps", " x ".join(map(str, record["grid"]))),
            ("begun", record["created"]),
        ]
    except (AuditError, KeyError) as error:
        return paragraph(f"The run at {run.path} cannot be told: {error}")
    return table((name, shorten(value, _WIDEST)) for name, value in rows)
