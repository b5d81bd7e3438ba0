"""Demands that take their turns one after the other: each gets the first path that keeps all it asks for, is promised
its bandwidth there, and pays for it what links cost by then. What it is for is told in ``runs``."""

from __future__ import annotations

import numpy as np

from foremesh.compiled import called, compiled
from foremesh.model.series import Floats
from foremesh.routing.arrays import MOST, NS_PER_MS
from foremesh.routing.kernels.exact import best
from foremesh.routing.kernels.numbers import NEVER
from foremesh.routing.ledger import promise_path
from foremesh.routing.prices import bandwidth_price, price_now
from foremesh.routing.values import Bools, Ints

KIND, GROUND, SUMS_AT, LIMITS, TIMED, EXPOSURE, LEAST, LEAST_BACK, LIMIT = range(9)
"""Columns of a demand: its kind of prices, which gateways and links it keeps to, the first of the sums that it limits
and how many there are, whether that is the round trip, what each transit costs, the bandwidth that it asks for there
and back, and one column for each limit."""
MOST_LIMITS = 4
WORST, WEIGHT, PER_MS = range(3)
"""Columns of a kind of prices: units that unknown bandwidth costs, the weight of bandwidth, the price of a
millisecond."""
COST, LAST, FREE = range(3)
"""Columns of an answer: what the path costs, its last gateway, and what its narrowest link had left."""


@called
def lay(
    gateway: int,
    rtt_ms: float,
    timed: bool,
    allowed: Bools,
    per_ms: float,
    unknown: int,
    begun: int,
    cost: Ints,
    sums: Ints,
) -> None:
    """Let paths begin, or end, at a gateway behind which there is so much of a round trip; NaN is unknown."""
    if not allowed[gateway] or (timed and np.isnan(rtt_ms)):
        return
    own = unknown if np.isnan(rtt_ms) else int(min(float(MOST), np.rint(max(0.0, rtt_ms) * per_ms)))
    cost[gateway] = own + begun
    if timed:
        sums[0, gateway] = int(np.floor(min(float(MOST), max(0.0, rtt_ms) * NS_PER_MS)))


@compiled(
    "UniTuple(i8,2)(i8,i8[:,:,::1],i8[:,:,::1],i8[::1],i8[::1],i8[::1],i8[::1],"
    "i8[::1],i8[::1],b1[::1],i8[:,::1],i8[:,::1],f8[:,::1],i8[:,::1],f8[:,::1],i8[::1],i8[::1],b1[:,::1],b1[:,::1],"
    "i8[:,::1],i8[:,::1],f8[:,::1],i8[::1],i8[::1],f8[::1],f8[::1],f8[::1],f8[::1],i8[::1],f8[::1],i8[::1],i8,"
    "i8[::1],i8[:,::1],i8[::1],i8[::1])"
)
def take_turns(
    turn: int,
    ahead: Ints,
    behind: Ints,
    into_src: Ints,
    dst: Ints,
    out_start: Ints,
    into_start: Ints,
    into: Ints,
    reverse: Ints,
    relays: Bools,
    link: Ints,
    fixed: Ints,
    factor: Floats,
    begun: Ints,
    rates: Floats,
    unknown: Ints,
    seen: Ints,
    usable: Bools,
    allowed: Bools,
    sums: Ints,
    asked: Ints,
    asked_bps: Floats,
    ends_at: Ints,
    end_gateway: Ints,
    end_ms: Floats,
    low_bps: Floats,
    median_bps: Floats,
    taken_bps: Floats,
    free_units: Ints,
    left_bps: Floats,
    events: Ints,
    count: int,
    begin: Ints,
    found: Ints,
    steps: Ints,
    bandwidth: Ints,
) -> tuple[int, int]:
    """Go on with the demand whose turn it is.

    Args:
        ahead, behind: ``Order``, a row for each kind of prices; as ``link``, what links cost, which is kept up to date,
            ``fixed``, what they cost but for bandwidth, ``factor``, by gateway, and ``begun``, what it costs to begin.
        unknown: By kind, the cost of an attachment of which nobody knows how long it takes.
        seen: By kind, how many of the ``events`` its prices know of.
        usable, allowed: Links and gateways to keep to.
        sums: What links add to sums.
        asked, asked_bps: Of demands.
        ends_at: Where each demand's gateways to begin at are among the ``end_gateway``, and then where those to end at.
        low_bps: As ``Ledger`` has it, with all after it up to ``count``.
        begin: Result: where the steps of each demand's path begin; one more at the end.
        found: Result, a row for each; of no meaning where there are no steps.
        steps: Result: the first gateway, then the links.
        bandwidth: Result, by step: what is paid for what its link has left.

    Returns:
        Whose turn it is then and how many events there are: all had theirs, or there is no room for more steps or
        events.
    """
    size = relays.size
    start, end = np.full(size, NEVER, dtype=np.int64), np.full(size, NEVER, dtype=np.int64)
    sum_start = np.zeros((MOST_LIMITS, size), dtype=np.int64)
    sum_end = np.zeros((MOST_LIMITS, size), dtype=np.int64)
    starting = np.empty((1 + MOST_LIMITS, size), dtype=np.int64)
    arriving = np.empty((1 + MOST_LIMITS, size), dtype=np.int64)
    ready, none = np.zeros(1 + MOST_LIMITS, dtype=np.int64), np.empty(0, dtype=np.int64)
    groups, guarded = np.zeros(size, dtype=np.int64), np.ones(size, dtype=np.bool_)
    while turn < begin.size - 1:
        ask, kind, ground = asked[turn], asked[turn, KIND], asked[turn, GROUND]
        worst, weight, prices = rates[kind, WORST], rates[kind, WEIGHT], link[kind]
        for event in range(seen[kind], count):
            one = events[event]
            prices[one] = price_now(one, dst, fixed[kind], factor[kind], left_bps, worst, weight)
        seen[kind] = count
        for side in range(2):
            for place in range(ends_at[2 * turn + side], ends_at[2 * turn + side + 1]):
                gateway = end_gateway[place]
                lay(
                    gateway,
                    end_ms[place],
                    ask[TIMED] != 0,
                    allowed[ground],
                    rates[kind, PER_MS],
                    unknown[kind],
                    begun[kind, gateway] if side == 0 else 0,
                    start if side == 0 else end,
                    sum_start if side == 0 else sum_end,
                )
        rows = ask[LIMITS]
        ready[:] = 0
        route = best(
            ahead[kind],
            behind[kind],
            into_src,
            dst,
            out_start,
            into_start,
            into,
            reverse,
            relays,
            usable[ground],
            free_units,
            ask[LEAST],
            ask[LEAST_BACK],
            groups,
            0,
            ask[EXPOSURE],
            prices,
            start,
            end,
            sums[ask[SUMS_AT] : ask[SUMS_AT] + rows],
            sum_start[:rows],
            sum_end[:rows],
            ask[LIMIT : LIMIT + rows],
            starting[: 1 + rows],
            arriving[: 1 + rows],
            ready[: 1 + rows],
            none,
            none,
            guarded,
            NEVER,
        )
        for side in range(2):
            for place in range(ends_at[2 * turn + side], ends_at[2 * turn + side + 1]):
                gateway = end_gateway[place]
                if side == 0:
                    start[gateway], sum_start[0, gateway] = NEVER, 0
                else:
                    end[gateway], sum_end[0, gateway] = NEVER, 0
        links, place = route[3:], begin[turn]
        if place + 1 + links.size > steps.size or count + 2 * links.size > events.size:
            return turn, count
        if route.size:
            found[turn, COST], found[turn, LAST], found[turn, FREE] = route[0], route[1], -1
            steps[place], bandwidth[place] = route[2], 0
            place += 1
            for one in links:
                free = free_units[one]
                found[turn, FREE] = free if place == begin[turn] + 1 else min(free, found[turn, FREE])
                steps[place], bandwidth[place] = one, bandwidth_price(left_bps[one], worst, weight)
                place += 1
            there, back = asked_bps[turn]
            count = promise_path(
                links,
                reverse,
                there,
                back,
                low_bps,
                median_bps,
                taken_bps,
                free_units,
                left_bps,
                events,
                count,
            )
        turn += 1
        begin[turn] = place
    return turn, count
