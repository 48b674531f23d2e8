"""Findings: what looks off the object, with its evidence."""

from audit.findings.findings import Findings
from audit.findings.records import Claim, ClassFinding, Effect, Finding, Outcome
from audit.findings.rules import KINDS, Rules

__all__ = ["KINDS", "Claim", "ClassFinding", "Effect", "Finding", "Findings", "Outcome", "Rules"]
