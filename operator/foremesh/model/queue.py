"""The queue of a link as a function of how much of it is in use: one law, to learn from and to plan by."""

from __future__ import annotations

import numpy as np

from foremesh.model.series import Floats

FULLEST = 0.9
"""Share of a link in use up to which the law is trusted, and learnt from. Beyond, a percent of error in the share,
which forecasts have, would make a difference of many milliseconds."""

MOST = 1.1
"""Share from which more traffic makes no difference any more: the buffer is full, and what does not fit is lost."""


def waiting(used: Floats) -> Floats:
    """u / (1 - u), the mean length of an M/M/1 queue in units of its customers, for shares in use up to ``FULLEST``;
    beyond, it goes on as steeply as it is there, up to ``MOST``.

    It must go on: if nothing were added to a link that is nearly full, all that move at a time would think it free.
    """
    share = np.minimum(np.maximum(used, 0.0), FULLEST)
    beyond = np.minimum(np.maximum(used, FULLEST), MOST) - FULLEST
    length: Floats = share / (1 - share) + beyond / (1 - FULLEST) ** 2
    return length
