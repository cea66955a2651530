"""The report room: curves, tables, plots and the HTML page. Never knows how numbers come about, and never prints.

jobs --bench--> points, section sizes, losses --study--> the paper's findings
                                              --plot, page--> report.html, curve.png, points.json
"""

from weightzip.report.make import make_report
from weightzip.report.plot import plot_points
from weightzip.report.points import AUTO, LOSSLESS, PAPER, Point
from weightzip.report.result import Report

__all__ = ["AUTO", "LOSSLESS", "PAPER", "Point", "Report", "make_report", "plot_points"]
