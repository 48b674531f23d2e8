"""The report: what was found in a run, with its pictures and its limits, as one HTML page; single cards of it."""

from audit.report.page import write_report
from audit.report.sheets import draw_sheets
from audit.report.shown import show_claim, show_sample

__all__ = ["draw_sheets", "show_claim", "show_sample", "write_report"]
