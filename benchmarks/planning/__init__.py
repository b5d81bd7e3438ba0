"""Parts of ``bench_routing.py``: a scene of any size, and the search that it is compared with."""
