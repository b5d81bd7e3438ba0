"""Benchmarks are programs, not a part of the package: their folder is put on the path for their tests alone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
