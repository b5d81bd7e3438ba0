"""Names for arrays of numbers; ``Floats`` are in ``model.series``."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.int32]
"""Of gateways and links, where many are gone through."""
