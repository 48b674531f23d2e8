"""Exports: what a finished audit hands to other tools."""

from audit.export.formats import FORMATS, PseudoMasks, export_run
from audit.export.record import findings_record, findings_schema
from audit.export.tables import export_table
from audit.export.voc_png import export_voc_png

__all__ = [
    "FORMATS",
    "PseudoMasks",
    "export_run",
    "export_table",
    "export_voc_png",
    "findings_record",
    "findings_schema",
]
