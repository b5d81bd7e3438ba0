"""What a path costs: a weighted sum of terms, each measured in its own unit of "about as bad".

One unit of every term is meant to trouble a service about as much as one unit of another, so that weights say what
somebody cares about and not how big the numbers are. The units are fixed, not taken from the graph: a path's cost
must not change because a far-away link did. Costs are made of medians; the spread up to the pessimistic quantile is
priced into latency, because a steady 50 ms serves better than 20 ms that is sometimes 200.

An unknown figure costs as much as the worst known one of the graph: nobody wins by not being measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real

from foremesh.model.intent import Profile
from foremesh.model.policy import CostWeights

COST_SCALE = 10**9
"""Costs are summed in billionths of a unit, as integers; see ``arrays``."""
LATENCY_UNIT_MS = 100.0
"""Milliseconds of round trip: where interactive use begins to feel slow (a keystroke's echo, a call's turn-taking)."""
RISK_SHARE = 0.5
"""Share of the spread between median and pessimistic round trip added to the median: halfway between trusting the
forecast's middle and planning for its bad end."""
BANDWIDTH_UNIT_BPS = 100e6
"""Bit/s: a link with 100 Mbit/s free costs one unit, 1 Gbit/s a tenth; OSPF's reference bandwidth (RFC 2328, C.3)."""
LEAST_FREE_BPS = 1e6
"""Bit/s below which a link is as good as full; bounds the inverse."""
LOSS_UNIT = 0.01
"""Share lost: at 1 % and 100 ms a TCP flow falls to about 1 Mbit/s (Mathis et al., CCR 27(3), 1997)."""
MOST_LOSS = 0.9999
"""Loss at which the price stops growing; bounds the logarithm."""
JITTER_UNIT_MS = 50.0
"""Milliseconds by which transit times vary: what the tightest class of ITU-T Y.1541 (0, telephony) allows from end
to end."""
HOPS_UNIT = 50.0
"""Links: one more link, with its processor time (half a millisecond in userspace) and its share of failures, is worth
2 ms of detour to avoid."""
PRICE_UNIT = 0.10
"""US dollars per gigabyte: about what large clouds charge for the first terabytes leaving them."""
LOAD_UNIT = 1.0
"""Share of a gateway in use: a gateway with nothing left."""
NOBODY_KNOWS_UNITS = 0.1
"""Units that an unknown figure costs when no link of the graph has it, or all have 0: above 0, yet too little to make
the term decide."""
UNPREFERRED_FACTOR = 1.25
"""Factor on what leads into a gateway that a matching MeshPolicy does not prefer: preferred paths win while they are
up to a quarter dearer."""

TERMS = ("latency", "bandwidth", "loss", "hops", "egressPrice", "load", "prefer", "jitter", "encryption")
"""Names of the terms in ``Path.terms``. ``prefer`` is what UNPREFERRED_FACTOR adds to the others."""

WEIGHED: Mapping[str, str] = {
    term: {"egressPrice": "egress_price"}.get(term, term) for term in TERMS if term != "prefer"
}
"""Terms that have a weight, and the field of ``Weights`` that is theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Relative importance of the terms, without unit; 1 is the importance of latency in the Balanced profile.

    Raises:
        ValueError: If a weight is negative or not finite; the search would not be exact.
    """

    latency: float
    bandwidth: float
    loss: float
    hops: float
    encryption: float
    """Price of each transit that sees the traffic in clear; nothing where encryption is end to end."""
    egress_price: float
    load: float
    jitter: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, Real) and math.isfinite(value) and float(value) >= 0):
                raise ValueError(f"cost weight {field.name} is {value!r}; it must be a finite number of at least 0")

    def override(self, weights: CostWeights) -> Weights:
        """These weights, with those that ``weights`` sets in their place."""
        names = [field.name for field in fields(self)]
        return replace(self, **{name: value for name in names if (value := getattr(weights, name)) is not None})


PROFILES: Mapping[Profile, Weights] = {
    Profile.BALANCED: Weights(
        latency=1.0, bandwidth=0.3, loss=1.0, hops=1.0, encryption=0.3, egress_price=0.5, load=0.2, jitter=0.5
    ),
    Profile.LATENCY: Weights(
        latency=3.0, bandwidth=0.1, loss=1.0, hops=1.0, encryption=0.2, egress_price=0.1, load=0.3, jitter=1.0
    ),
    Profile.THROUGHPUT: Weights(
        latency=0.3, bandwidth=3.0, loss=1.5, hops=1.0, encryption=0.3, egress_price=0.2, load=0.5, jitter=0.1
    ),
    Profile.COST: Weights(
        latency=0.3, bandwidth=0.1, loss=0.5, hops=0.5, encryption=0.3, egress_price=5.0, load=0.1, jitter=0.1
    ),
    # Time and money for each gigabyte: 100 Mbit/s free instead of 1 Gbit/s take 72 s more, which are worth 9 cents.
    Profile.BULK: Weights(
        latency=0.05, bandwidth=2.0, loss=1.0, hops=0.5, encryption=0.3, egress_price=2.0, load=0.3, jitter=0.0
    ),
}
"""Weights by profile; each favours its own concern by a factor that outweighs ordinary differences in the others."""
