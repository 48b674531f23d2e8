"""Findings as one CSV or Parquet file, most suspicious first."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from audit.findings import Findings
from audit.store import Run
from audit.store.storage.files import write_atomically
from audit.store.storage.objects import Location
from audit.store.tables.parts import write_parquet
from audit.store.verdicts.decided import Standing, decided
from audit.store.verdicts.log import VerdictLog, target_subject

_FORMULA = r"^([=+\-@\t\r])"


def export_table(run: Run, out: Location) -> int:
    """Write findings to `out`, CSV or Parquet by its suffix, and return how many.

    In CSV a text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a return) gets a leading
    apostrophe; every text is quoted. Parquet keeps texts as they are.

    Raises:
        RunError: the run was not flagged yet.
    """
    findings = with_verdicts(Findings(run).targets(), VerdictLog.of(run).standing())
    if out.suffix == ".csv":
        write_csv(findings, out)
    else:
        write_atomically(out, partial(write_parquet, findings))
    return int(findings.num_rows)


def with_verdicts(table: pa.Table, standing: Standing) -> pa.Table:
    """Findings about targets with two more columns: `verdict`, what reviewers together say, and `reviewers`."""
    keys = zip(table["sample"].to_pylist(), table["slot"].to_pylist(), strict=True)
    subjects = [target_subject(*key) for key in keys]
    said = decided(standing)
    verdict = pa.array([said.get(subject) for subject in subjects], pa.string())
    names = [reviewers_told(standing[subject]) if subject in said else None for subject in subjects]
    return table.append_column("verdict", verdict).append_column("reviewers", pa.array(names, pa.string()))


def reviewers_told(given: Iterable[str]) -> str:
    """The names of those who decided, in one text.

    >>> reviewers_told(["Ben", "Ana"])
    'Ana; Ben'
    """
    return "; ".join(sorted(given))


def write_csv(table: pa.Table, out: Location) -> None:
    """Write a table as CSV, whole or not at all; texts that a spreadsheet would take for formulas as `export_table`."""
    safe, options = _without_formulas(table), pacsv.WriteOptions(quoting_style="needed")
    write_atomically(out, lambda unnamed: pacsv.write_csv(safe, unnamed, options))


def _without_formulas(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            safe = pc.replace_substring_regex(table[field.name], _FORMULA, r"'\1")
            table = table.set_column(place, field.name, safe)
    return table
