"""Findings: what looks off the object, with its evidence."""

from audit.findings.grid import Placed
from audit.findings.multiplicity import benjamini_hochberg
from audit.findings.null import ShiftNull, shift_null
from audit.findings.off_object import (
    KINDS,
    ClassTally,
    Rules,
    ShiftTally,
    kinds,
    misplacement,
    severity,
    wilson_interval,
)

__all__ = [
    "KINDS",
    "ClassTally",
    "Placed",
    "Rules",
    "ShiftNull",
    "ShiftTally",
    "benjamini_hochberg",
    "kinds",
    "misplacement",
    "severity",
    "shift_null",
    "wilson_interval",
]
