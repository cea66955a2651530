import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for make.py, and what it is made of
