"""Findings as one CSV or Parquet file, most suspicious first."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from audit.findings import Findings
from audit.store import Run
from audit.store.files import write_atomically
from audit.store.tables import write_parquet

_FORMULA = r"^([=+\-@\t\r])"


def export_table(run: Run, out: Path) -> int:
    """Write findings to `out`, CSV or Parquet by its suffix, and return how many.

    In CSV a text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a return) gets a leading
    apostrophe; every text is quoted. Parquet keeps texts as they are.

    Raises:
        RunError: the run was not flagged yet.
    """
    findings = Findings(run).targets()
    if out.suffix == ".csv":
        safe = _without_formulas(findings)
        options = pacsv.WriteOptions(quoting_style="needed")
        write_atomically(out, lambda unnamed: pacsv.write_csv(safe, unnamed, options))
    else:
        write_atomically(out, partial(write_parquet, findings))
    return int(findings.num_rows)


def _without_formulas(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            safe = pc.replace_substring_regex(table[field.name], _FORMULA, r"'\1")
            table = table.set_column(place, field.name, safe)
    return table
