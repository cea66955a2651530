"""How well `weightzip scan` finds faults that were done on purpose, beside detectors that everybody has.

checkpoints --damaged, with test seeds--> families, ensemble, `classical` --scores--> `areas` --`table`--> Markdown
"""

from weightzip.measure.scanning.bench import ScanBenchmark, measure_scan
from weightzip.measure.scanning.table import scan_tables

__all__ = ["ScanBenchmark", "measure_scan", "scan_tables"]
