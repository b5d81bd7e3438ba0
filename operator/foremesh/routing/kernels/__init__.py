"""The exact search, compiled: numbers in, numbers out. What it does and why is told in ``labels``.

Gateways and links are numbers; links are sorted by the gateway they leave. A *state* is a gateway and the groups passed
so far, its own among them, as bits: ``gateway << shift | passed``. ``NEVER`` stands for what cannot be had.
"""

from __future__ import annotations

from foremesh.routing.kernels.bounds import distances
from foremesh.routing.kernels.exact import best
from foremesh.routing.kernels.numbers import END, NEVER

__all__ = ["END", "NEVER", "best", "distances"]
