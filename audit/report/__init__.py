"""The report: what was found in a run, with its pictures and its limits, as one HTML page."""

from audit.report.page import write_report
from audit.report.sheets import draw_sheets

__all__ = ["draw_sheets", "write_report"]
