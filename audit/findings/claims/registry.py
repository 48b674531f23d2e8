"""Every kind of claim, and all claims of a run: each kind is a family under its own false discovery rate."""

from __future__ import annotations

from typing import NamedTuple

from audit.findings.claims.absent import Absent
from audit.findings.claims.around import Around
from audit.findings.claims.clusters import Clusters
from audit.findings.claims.context import Contexts
from audit.findings.claims.errors import Errors
from audit.findings.claims.fixed import Fixed
from audit.findings.claims.following import Following
from audit.findings.claims.groups import Groups
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.spots import Spots
from audit.findings.claims.votes import too_few
from audit.findings.claims.whole_class import WholeClasses
from audit.findings.claims.zones import Zones
from audit.findings.power import Detectable
from audit.findings.records import Claim

CLAIM_KINDS: dict[str, ClaimKind] = {
    kind.name: kind
    for kind in (
        WholeClasses(),
        Following(),
        Absent(),
        Zones(),
        Spots(),
        Fixed(),
        Contexts(),
        Around(),
        Groups(),
        Errors(),
        Clusters(),
    )
}
"""Name -> kind, in the order of the table of claims."""


class Claims(NamedTuple):
    """What holds of more than one target.

    Attributes:
        claims: by kind; standing ones first within a family.
        untested: sentences on what was left out and why.
    """

    claims: list[Claim]
    untested: list[str]


def all_claims(material: Material) -> Claims:
    """Test every kind."""
    claims = [claim for kind in CLAIM_KINDS.values() for claim in kind.test(material)]
    untested = [text for kind in CLAIM_KINDS.values() for text in kind.untested(material)]
    return Claims(claims, [*too_few(material.names, material.votes), *untested])


def all_detectable(material: Material) -> list[Detectable]:
    """How common a shortcut must be to be found, by kind and class."""
    return [row for kind in CLAIM_KINDS.values() for row in kind.detectable(material)]


def kind_of(claim: Claim) -> ClaimKind:
    """The claim's kind; of one that is not registered any more only what its row says is known."""
    return CLAIM_KINDS.get(claim.kind, _UNREGISTERED)


class _Unregistered(ClaimKind):
    name = title = ""

    def test(self, material: Material) -> list[Claim]:
        return []


_UNREGISTERED = _Unregistered()
