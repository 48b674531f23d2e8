"""Exports: what a finished audit hands to other tools."""

from audit.export.claims import finite, read_causes, read_claims, read_classes, read_effects, read_rules
from audit.export.tables import export_table, read_findings
from audit.export.voc_png import export_voc_png

__all__ = [
    "export_table",
    "export_voc_png",
    "finite",
    "read_causes",
    "read_claims",
    "read_classes",
    "read_effects",
    "read_findings",
    "read_rules",
]
