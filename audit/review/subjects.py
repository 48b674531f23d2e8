"""Which targets a claim flags: the one place that gives them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.findings import Findings
from audit.store.verdicts.log import target_subject

FINDINGS, GUESSES = "findings", "guesses"
"""Stand for a `claim_id`: all findings about targets, and all that a detector guesses."""


def claim_subjects(findings: Findings) -> dict[str, list[str]]:
    """The targets of each claim that stands, by `claim_id`, in the order of the claims; then `FINDINGS` and `GUESSES`.

    Those that are left out by `camaudit flag --verdicts` are among them.

    Raises:
        RunError: the run was not flagged yet, or not since it has changed.
    """
    index = findings.index(["sample", "slot", "kind", "claims"])
    by_claim = _by_place(index["claims"].combine_chunks())
    guessed = pc.equal(index["kind"], "detected").fill_null(False)
    evident = pc.and_(pc.is_valid(index["kind"]), pc.invert(guessed))
    claims = {
        claim.claim_id: _named(index, by_claim.get(place, _NONE))
        for place, claim in enumerate(findings.standing_claims())
    }
    flagged = {name: _named(index, np.flatnonzero(rows)) for name, rows in ((FINDINGS, evident), (GUESSES, guessed))}
    for aside in findings.set_aside().select(["sample", "slot", "kind"]).to_pylist():
        name = GUESSES if aside["kind"] == "detected" else FINDINGS
        flagged[name].append(target_subject(aside["sample"], aside["slot"]))
    return {name: own for name, own in (claims | flagged).items() if own or name in claims}


_NONE = np.zeros(0, np.int64)


def _named(index: pa.Table, rows: NDArray[np.integer]) -> list[str]:
    """The targets of some rows."""
    some = index.select(["sample", "slot"]).take(pa.array(rows))
    return [target_subject(*key) for key in zip(*(column.to_pylist() for column in some.columns), strict=True)]


def _by_place(claims: pa.ListArray) -> Mapping[int, NDArray[np.int64]]:
    """Rows of each claim, by its place in the list of standing ones."""
    rows, places = pc.list_parent_indices(claims).to_numpy(), pc.list_flatten(claims).to_numpy()
    order = np.argsort(places, kind="stable")
    found, first = np.unique(places[order], return_index=True)
    return dict(zip(found.tolist(), np.split(rows[order], first)[1:], strict=True))
