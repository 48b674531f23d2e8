"""The claims of two runs: which are gone and new, and which the same targets are asked in both.

A claim that is asked because B has it would be asked where B had its luck. So the evidence of both runs is laid
together, as if it were of one, and the claims of that are asked. They are the same whichever run is called A: by chance
alone, each image that changed may as well have changed the other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.compare.gate import Asked
from audit.findings import Claim, Findings, Rules
from audit.findings.claims.kind import Material
from audit.findings.claims.registry import CLAIM_KINDS, kind_of
from audit.findings.evidence.gather import gather
from audit.findings.evidence.targets import Evidence
from audit.store import Run

LEAST = 0.02
"""How far a share must exceed the other, in both runs together, for its claim to be asked: a fifth of what a run's own
claims need, for what comes in one run only is half as much in both."""
_KEYS = ["sample", "slot"]
_JUDGED = ("known", "boxed", "named", "off", "severity", "wrong", "labelled", "off_heat", "off_area", "clear")
_COLUMNS = (*_KEYS, "class_id", "probability", *_JUDGED)


@dataclass(frozen=True)
class Both:
    """The same targets in both runs, in one order, with their classes and images numbered alike.

    Attributes:
        together: those of A, then those of B, as if they were of one run and its images twice as many.
    """

    together: Evidence

    @classmethod
    def of(cls, a: Evidence, b: Evidence) -> Both:
        """Of the targets of A and the same of B."""
        columns: dict[str, Any] = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in _COLUMNS}
        codes = {name: np.concatenate([a.attributes[name][0], b.attributes[name][0]]) for name in a.attributes}
        beside = b.context | {"target": b.context["target"] + len(a)}
        together = replace(
            a,
            **columns,
            unit=np.concatenate([a.unit, b.unit + a.unit.max(initial=0) + 1]),
            attributes={name: (codes[name], values) for name, (_, values) in a.attributes.items()},
            context={name: np.concatenate([values, beside[name]]) for name, values in a.context.items()},
            error=None,  # what is wrong with a box is of one run
            boxes=None,
            lost=None,
        )
        return cls(together)

    @property
    def apart(self) -> tuple[Evidence, Evidence]:
        """The targets of A, and those of B; their arrays are views of the whole."""
        half = len(self.together) // 2
        return self.together.take(slice(None, half)), self.together.take(slice(half, None))

    def ask(self, rules: Rules, says: Mapping[str, str]) -> list[Asked]:
        """The claims of both runs together, asked in each.

        Args:
            rules: that both were judged by.
            says: sentences of claims that stand in a run, by what another run calls them.
        """
        material = Material(self.together, rules, least=LEAST)
        kinds = [kind for kind in CLAIM_KINDS.values() if kind.paired and not kind.whole]
        claims = [claim for kind in kinds for claim in kind.test(material) if claim.found]
        apart = self.apart
        return [_ask(claim, apart, says.get(kind_of(claim).identity(claim), "")) for claim in claims]


def _ask(claim: Claim, apart: tuple[Evidence, Evidence], says: str) -> Asked:
    event = np.stack([kind_of(claim).event(claim, evidence) for evidence in apart])
    asked = np.isfinite(event).any(axis=0)
    return Asked("claim", claim.claim_id, says, event[:, asked], apart[0].unit[asked])


def read_both(runs: Sequence[tuple[Run, pd.DataFrame]], image: pd.Series) -> Both:
    """Targets that both runs have a map of, by id and class.

    Args:
        runs: A and B, each with its samples: `sample` and `id`.
        image: number of the image, near-duplicates alike, by id: of the samples that both have.
    """
    return Both.of(*_matched(runs, image))


def _matched(runs: Sequence[tuple[Run, pd.DataFrame]], image: pd.Series) -> Iterator[Evidence]:
    """The targets of A that B has, and those of B in the same order, with one numbering of classes and images."""
    read = [_read(run) for run, _ in runs]
    keys = [_keys(evidence, samples) for evidence, (_, samples) in zip(read, runs, strict=True)]
    joined = keys[0].merge(keys[1], on=["id", "class"], suffixes=("_a", "_b"))
    joined = joined[joined["id"].isin(image.index)]
    numbers = image.loc[joined["id"]].to_numpy()
    rows = [joined[name].to_numpy() for name in ("row_a", "row_b")]
    classes = tuple(dict.fromkeys(name for evidence in read for name in evidence.classes))
    values = _attribute_values(read)
    for one, own in zip(read, rows, strict=True):
        yield replace(renumbered(one.take(own), classes, values), unit=numbers)


def standing(claims: Sequence[Claim]) -> dict[str, Claim]:
    """Claims that stand, but those about whole classes, which have their own table; by what another run calls them."""
    named: dict[str, Claim] = {}
    for claim in claims:
        if claim.found and not kind_of(claim).whole:
            named.setdefault(kind_of(claim).identity(claim), claim)
    return named


def told(claim: Claim) -> dict[str, Any]:
    """What is said of a claim that is gone or new."""
    plain = claim.plain()
    return {name: plain[name] for name in ("claim_id", "kind", "class", "found", "says")}


def _read(run: Run) -> Evidence:
    """All targets that claims are made from."""
    findings, shards = Findings(run), run.having("scores")
    gathered = gather(run, shards, units=False)
    flagged = [findings.of_shard(shard, [*_KEYS, "kind", "severity"]).to_pandas() for shard in shards]
    found = pd.concat([pd.DataFrame(columns=[*_KEYS, "kind", "severity"]), *flagged])
    judged = gathered.targets[_KEYS].merge(found, on=_KEYS, how="left")
    return findings.disagreements.heeded(gathered.evidence(run, judged, findings.rules().confident))


def _keys(evidence: Evidence, samples: pd.DataFrame) -> pd.DataFrame:
    """Where each target is, by its sample's id and its class; of a detector's boxes of a class the surest."""
    ids = pd.Series(evidence.sample).map(samples.set_index("sample")["id"])
    names = np.array(evidence.classes, object)[evidence.class_id]
    rows = pd.DataFrame({"id": ids, "class": names, "row": np.arange(len(evidence))}).dropna()
    return rows.drop_duplicates(["id", "class"])


def _attribute_values(read: Sequence[Evidence]) -> dict[str, tuple[str, ...]]:
    """Every value of each attribute that both have."""
    a, b = (evidence.attributes for evidence in read)
    return {name: tuple(dict.fromkeys((*a[name][1], *b[name][1]))) for name in a if name in b}


def renumbered(evidence: Evidence, classes: tuple[str, ...], values: Mapping[str, tuple[str, ...]]) -> Evidence:
    """The same with other numbers of its classes and of its attributes' values."""
    of_class = np.array([classes.index(name) for name in evidence.classes], np.int32)
    context = evidence.context | {"class_id": of_class[evidence.context["class_id"]]}
    return replace(
        evidence,
        classes=classes,
        class_id=of_class[evidence.class_id],
        attributes={name: (_recoded(*evidence.attributes[name], own), own) for name, own in values.items()},
        context=context,
        cluster=None,
    )


def _recoded(codes: NDArray[np.int32], before: tuple[str, ...], values: tuple[str, ...]) -> NDArray[np.int32]:
    """Codes [n] of other values; -1 stays."""
    places = np.array([*(values.index(value) for value in before), -1], np.int32)
    return places[codes]
