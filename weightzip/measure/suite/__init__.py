"""The suite: the zoo and real checkpoints against every baseline and every installed peer, and the page that says so.

settings, subjects --plan--> items --files, codecs, errors--> one JSON file per item --results--> results.json
results.json --tables--> blocks of Markdown --marked--> results.md, README.md

It knows what is measured, what is measured already and how a table is laid out; figures come from the other modules of
the room.
"""

from weightzip.measure.suite.marked import update_tables
from weightzip.measure.suite.page import page
from weightzip.measure.suite.results import PAGE, RESULTS, Record, SuiteResults, read_results
from weightzip.measure.suite.run import run_suite
from weightzip.measure.suite.settings import FULL, QUICK, SuiteSettings

__all__ = [
    "FULL",
    "PAGE",
    "QUICK",
    "RESULTS",
    "Record",
    "SuiteResults",
    "SuiteSettings",
    "page",
    "read_results",
    "run_suite",
    "update_tables",
]
