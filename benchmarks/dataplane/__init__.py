"""What ``bench_dataplane.py`` is made of: real agents in a lab, the same by hand beside them, and what is counted.

Not a part of the product. Uses the tests' lab, so ``tests`` is on the path.
"""
