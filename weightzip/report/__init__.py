"""The report room: curves, tables, plots and the HTML page.

It knows what results look like to people; it never knows how numbers come about (`measure` does), and never prints.

Results --plot, page--> report.html, curve.png, points.json
FamilyRows --family_plot--> families.png, families.json
"""

from weightzip.report.families import FamilyReport, make_family_report
from weightzip.report.make import make_report
from weightzip.report.plot import plot_points
from weightzip.report.result import Report
from weightzip.results import AUTO, LOSSLESS, PAPER, Point

__all__ = ["AUTO", "LOSSLESS", "PAPER", "FamilyReport", "Point", "Report", "make_family_report", "make_report", "plot_points"]
