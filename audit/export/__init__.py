"""Exports: what a finished audit hands to other tools."""

from audit.export.record import findings_record, findings_schema
from audit.export.tables import export_table
from audit.export.voc_png import export_voc_png

__all__ = ["export_table", "export_voc_png", "findings_record", "findings_schema"]
