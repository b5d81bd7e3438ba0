"""The queue of a link as a function of how much of it is in use: one law, to learn from and to plan by."""

from __future__ import annotations

import numpy as np

from foremesh.model.series import Floats

FULLEST = 0.9
"""Share of a link in use up to which the law is trusted. Beyond, real queues grow more slowly, as buffers end, and a
percent of error in the share, which forecasts have, would make a difference of many milliseconds."""


def waiting(used: Floats) -> Floats:
    """u / (1 - u), the mean length of an M/M/1 queue in units of its customers, for shares in use up to ``FULLEST``;
    more is taken for that."""
    share = np.clip(used, 0.0, FULLEST)
    length: Floats = share / (1 - share)
    return length
