"""The report of a verdict as one HTML file that needs nothing else: no network, no script to be readable."""

from parity.html.writing import check_report, write_report

__all__ = ["check_report", "write_report"]
