"""Exports: what a finished audit hands to other tools."""

from audit.export.formats import FORMATS, export_run
from audit.export.labels import LABEL_FORMATS, export_labels
from audit.export.pseudo_masks import PseudoMasks
from audit.export.record import findings_record, findings_schema
from audit.export.tables import export_table

__all__ = [
    "FORMATS",
    "LABEL_FORMATS",
    "PseudoMasks",
    "export_labels",
    "export_run",
    "export_table",
    "findings_record",
    "findings_schema",
]
