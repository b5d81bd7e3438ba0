"""Whether a path over one link could cost little enough and keep a limit as well. Bounds tell the way (A*), so that few
gateways are looked at."""

from __future__ import annotations

import numpy as np

from foremesh.compiled import called, compiled
from foremesh.model.series import Floats
from foremesh.routing.kernels.heaps import rise, sink
from foremesh.routing.kernels.numbers import DONE, NEVER
from foremesh.routing.values import Bools, Ints

NEAR, DEAR, UNTOLD = 0, 1, 2
"""There may be such a path; there is none; or the cheapest breaks the limit, which tells nothing of others."""
WITHIN = 1e-12
"""Share by which weighted sums may be off, as they are no integers."""
_NEW = -1


@called
def least_end(
    ends: Ints, costs: Ints, sums: Ints, exposure: int, rate: float, goal: int, near: Ints, near_sum: Ints
) -> float:
    """A bound of cost and priced sum together from some gateways to another."""
    found = np.inf
    for place in range(ends.size):
        gateway = ends[place]
        if near[gateway] != NEVER and near_sum[gateway] != NEVER:
            least = costs[place] + near[gateway] + (exposure if gateway != goal else 0)
            found = min(found, least + rate * (sums[place] + near_sum[gateway]))
    return found


@called
def lead(
    begin: Ints,
    other: Ints,
    step: Ints,
    backwards: bool,
    relays: Bools,
    link: Ints,
    sums: Ints,
    exposure: int,
    rate: float,
    most: float,
    starts: Ints,
    start_costs: Ints,
    start_sums: Ints,
    goal: int,
    near: Ints,
    near_sum: Ints,
    labels: Ints,
    keys: Floats,
) -> bool:
    """The least of cost and priced sum together from some gateways to another; whether it is within ``most``.

    Args:
        begin, other, step, backwards: As for ``distances``.
        link, sums, exposure: What each link costs, adds to the sum, and costs besides.
        rate: Price of a unit of the sum.
        near, near_sum: By gateway, bounds of what is still to come.
        labels: Room to work in, four numbers a gateway: what it costs to come there, the result at the goal; the sum;
            a heap; places in that, all of which are _NEW before and after.
        keys: Room to work in.
    """
    cost, total, heap, where = labels[0], labels[1], labels[2], labels[3]
    seen, waiting, count = labels[4], 0, 0
    for place in range(starts.size):
        gateway = starts[place]
        if near[gateway] != NEVER and near_sum[gateway] != NEVER:
            cost[gateway], total[gateway] = start_costs[place], start_sums[place]
            least = cost[gateway] + near[gateway] + (exposure if gateway != goal else 0)
            keys[gateway] = least + rate * (total[gateway] + near_sum[gateway])
            if keys[gateway] <= most:
                rise(heap, where, keys, gateway, waiting)
                seen[count] = gateway
                waiting, count = waiting + 1, count + 1
    found = False
    while waiting and not found:
        gateway = sink(heap, where, keys, waiting)
        where[gateway] = DONE
        waiting -= 1
        found = gateway == goal
        for place in range(begin[gateway], begin[gateway + 1] if not found else begin[gateway]):
            onward = other[place]
            if where[onward] == DONE or near[onward] == NEVER or near_sum[onward] == NEVER:
                continue
            if not relays[onward] and onward != goal:
                continue
            one = step[place] if backwards else place
            own, sum_ = cost[gateway] + link[one] + exposure, total[gateway] + sums[one]
            least = own + near[onward] + (exposure if onward != goal else 0)
            key = least + rate * (sum_ + near_sum[onward])
            if key > most or (where[onward] != _NEW and key >= keys[onward]):
                continue
            cost[onward], total[onward], keys[onward] = own, sum_, key
            if where[onward] == _NEW:
                seen[count] = onward
                rise(heap, where, keys, onward, waiting)
                waiting, count = waiting + 1, count + 1
            else:
                rise(heap, where, keys, onward, where[onward])
    for place in range(count):
        where[seen[place]] = _NEW
    return found


@compiled(
    "void(i8,i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],b1[::1],i8[::1],"
    "i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],"
    "i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],f8[::1],i8,i8[::1])"
)
def judge(
    over: int,
    src: Ints,
    dst: Ints,
    out_start: Ints,
    into_start: Ints,
    into_src: Ints,
    into: Ints,
    relays: Bools,
    rows: Ints,
    starts_at: Ints,
    start: Ints,
    start_cost: Ints,
    ends_at: Ints,
    end: Ints,
    end_cost: Ints,
    link: Ints,
    towards: Ints,
    onwards: Ints,
    most: Ints,
    exposure: Ints,
    of: Ints,
    limited_starts_at: Ints,
    start_sum: Ints,
    limited_ends_at: Ints,
    end_sum: Ints,
    sums: Ints,
    towards_sum: Ints,
    onwards_sum: Ints,
    most_sum: Ints,
    rates: Floats,
    rounds: int,
    found: Ints,
) -> None:
    """By question, whether a path over a link could be near enough: NEAR, DEAR or UNTOLD.

    None can if, for some price of the limited sum, each costs more than the most that is of interest and all that the
    limit allows at that price (a Lagrange multiplier). A price that does not tell gives a path that shows where one is
    that could: higher, if the path breaks the limit, and else lower.

    Args:
        over: The link.
        rows, starts_at, start, start_cost, ends_at, end, end_cost, towards, onwards: As for ``least_over``.
        most: By question, the most that is of interest.
        exposure: By question, what links cost besides.
        of: The same questions among those that have the limit; what ends are called there is the same.
        towards_sum, onwards_sum: As ``towards`` for the sum.
        most_sum: By question that has it, the limit.
        rates: Prices of the sum to begin with.
        rounds: How many prices to try.
    """
    labels, keys = np.empty((5, relays.size), dtype=np.int64), np.empty(relays.size, dtype=np.float64)
    labels[3] = _NEW
    first, last = src[over], dst[over]
    for index in range(rows.size):
        row, limited, rate = rows[index], of[index], rates[index]
        begin, begin_cost = start[starts_at[row] : starts_at[row + 1]], start_cost[starts_at[row] : starts_at[row + 1]]
        begin_sum = start_sum[limited_starts_at[limited] : limited_starts_at[limited + 1]]
        stop, stop_cost = end[ends_at[row] : ends_at[row + 1]], end_cost[ends_at[row] : ends_at[row + 1]]
        stop_sum = end_sum[limited_ends_at[limited] : limited_ends_at[limited + 1]]
        limit, low, high = most_sum[limited], 0.0, np.inf
        for _ in range(rounds):
            room = most[row] + rate * limit
            room += 1 + WITHIN * room - link[over] - rate * sums[over]
            room -= least_end(stop, stop_cost, stop_sum, exposure[row], rate, last, onwards, onwards_sum)
            found[index] = DEAR
            if not lead(
                out_start,
                dst,
                into,
                False,
                relays,
                link,
                sums,
                exposure[row],
                rate,
                room,
                begin,
                begin_cost,
                begin_sum,
                first,
                towards,
                towards_sum,
                labels,
                keys,
            ):
                break
            cost, sum_ = labels[0, first] + link[over], labels[1, first] + sums[over]
            room = most[row] - cost + rate * (limit - sum_)
            room += 1 + WITHIN * (most[row] + rate * limit)
            if not lead(
                into_start,
                into_src,
                into,
                True,
                relays,
                link,
                sums,
                exposure[row],
                rate,
                room,
                stop,
                stop_cost,
                stop_sum,
                last,
                onwards,
                onwards_sum,
                labels,
                keys,
            ):
                break
            cost, sum_ = cost + labels[0, last], sum_ + labels[1, last]
            found[index] = UNTOLD if sum_ > limit else NEAR
            if sum_ > limit:
                low = max(low, rate, (most[row] - cost) / (sum_ - limit))
            elif cost <= most[row] or sum_ == limit:
                break
            else:
                high = min(high, (cost - most[row]) / (limit - sum_))
            if low >= high:
                break
            rate = (low + high) / 2 if high < np.inf else 2 * max(low, 1e-3 * most[row] / max(1, limit))
