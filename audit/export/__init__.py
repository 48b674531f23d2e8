"""Exports: what a finished audit hands to other tools."""

from audit.export.tables import export_table, read_findings
from audit.export.voc_png import export_voc_png

__all__ = ["export_table", "export_voc_png", "read_findings"]
