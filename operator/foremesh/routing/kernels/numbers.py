"""What stands for something else where there are only numbers."""

from __future__ import annotations

NEVER = 2**62
"""More than any sum; two of them still fit into 64 bits."""
END = -1
"""The step that ends a path, where a link's number would stand for going on."""
DONE = -2
"""Stands where the place in a queue would, of what has left it."""
HEAVY = 2**52
"""The most that a link may add to a weighted sum: a thousand of them still fit into 64 bits."""
