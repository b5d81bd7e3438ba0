"""The cheapest path, looked for from both ends."""

from __future__ import annotations

import numpy as np

from foremesh.compiled import called
from foremesh.routing.kernels.heaps import rise, sink
from foremesh.routing.kernels.numbers import DONE, HEAVY, NEVER
from foremesh.routing.order import LEAST, LINK, OTHER
from foremesh.routing.values import Bools, Ints


@called
def contains(numbers: Ints, number: int) -> bool:
    """Whether a short array holds a number."""
    found = False
    for one in numbers:
        found = found or one == number
    return found


@called
def weigh(link: int, more: int, scale: int, factor: int, most_link: int, most_more: int) -> int:
    """``scale`` times one and ``factor`` times the other; what is too much for sums of it to fit into 64 bits counts as
    less, as it may in a bound from below."""
    return scale * min(link, most_link) + factor * min(more, most_more)


@called
def meet(
    dst: Ints,
    out_start: Ints,
    into_start: Ints,
    ahead: Ints,
    behind: Ints,
    reverse: Ints,
    relays: Bools,
    usable: Bools,
    free: Ints,
    least: int,
    least_back: int,
    exposure: int,
    link: Ints,
    start: Ints,
    end: Ints,
    more_link: Ints,
    more_start: Ints,
    more_end: Ints,
    scale: int,
    factor: int,
    most: int,
    rest: Ints,
) -> tuple[int, bool, Ints]:
    """The path with the least ``scale`` times the objective plus ``factor`` times a limit's sum, from both ends at once
    (Dijkstra's algorithm in two directions, Nicholson 1966), without groups to pass.

    Args:
        ahead, behind: Links in the order of what they add to the objective at least (``Order``): all that follow are
            passed over where one is too dear.
        most: What a path is known to sum up to; NEVER if none is known.
        rest: Result, by gateway: a bound from below on what is still to come where a path has come to it.

    Returns:
        What the path sums up to, NEVER if there is none; whether no other path does as well for certain; and its last
        gateway, its first, and its links.
    """
    size = start.size
    out, back = np.full(size, NEVER, dtype=np.int64), rest
    back[:] = NEVER
    heap, heap_back = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    where, where_back = np.full(size, -1, dtype=np.int32), np.full(size, -1, dtype=np.int32)
    came, came_from = np.full(size, -1, dtype=np.int32), np.full(size, -1, dtype=np.int32)
    goes = np.full(size, -1, dtype=np.int32)
    tied, tied_back = np.zeros(size, dtype=np.bool_), np.zeros(size, dtype=np.bool_)
    equal = np.empty(16, dtype=np.int64)
    plain = scale == 1 and factor == 0
    most_link = NEVER if plain else HEAVY // max(1, scale)
    most_more = 0 if factor == 0 else HEAVY // factor
    toll = scale * min(exposure, most_link)
    waiting, waiting_back, equals = 0, 0, 0
    total, middle, before, alone = NEVER, -1, -1, True
    for gateway in range(size):
        if start[gateway] != NEVER:
            out[gateway] = weigh(start[gateway], more_start[gateway], scale, factor, most_link, most_more)
            rise(heap, where, out, gateway, waiting)
            waiting += 1
        if end[gateway] != NEVER:
            back[gateway] = weigh(end[gateway], more_end[gateway], scale, factor, most_link, most_more)
            rise(heap_back, where_back, back, gateway, waiting_back)
            waiting_back += 1
        if start[gateway] != NEVER and end[gateway] != NEVER:
            here = out[gateway] + back[gateway]
            alone = alone and here != total
            if here < total:
                total, before, alone = here, gateway, True
    near, far, turns = 0, 0, 0
    # What is dearer than a path that is known, or the cheapest found, is passed over before anything else is asked.
    cutoff = min(total, most)
    while waiting and waiting_back:
        near, far = out[heap[0]], back[heap_back[0]]
        if near + far > cutoff + toll:
            break
        turns += 1
        if turns & 1:
            gateway = sink(heap, where, out, waiting)
            where[gateway] = DONE
            waiting -= 1
            for place in range(out_start[gateway], out_start[gateway + 1]):
                lightest, onward, step = ahead[place, LEAST], ahead[place, OTHER], ahead[place, LINK]
                if not plain:
                    lightest = scale * min(lightest, most_link)
                if near + far + lightest > cutoff + toll:
                    break
                # Nor is it of use where it leads to no shorter path, and its end is reached for less already.
                rest_, own = back[onward], near + lightest
                if own + min(far, rest_) > cutoff or (own + rest_ > total and own + toll > out[onward]):
                    continue
                weight = link[step]
                if not plain:
                    weight = weigh(weight, more_link[step], scale, factor, most_link, most_more)
                come = near + weight
                if come + min(far, rest_) > cutoff:
                    continue
                if not usable[step] or free[step] < least or (least_back >= 0 and free[reverse[step]] < least_back):
                    continue
                if weight == 0:
                    alone = False  # for the order in which gateways are done says less then
                whole = come + rest_
                if whole <= total and rest_ != NEVER:
                    if whole < total:
                        total, middle, before, equals = whole, step, gateway, 0
                        cutoff = min(total, most)
                    if equals < equal.size:
                        equal[equals] = step
                    equals += 1
                come += toll
                if come > out[onward] or not relays[onward] or where_back[onward] == DONE or come - toll + far > cutoff:
                    continue
                tied[onward] = come == out[onward]
                if not tied[onward]:
                    out[onward], came[onward], came_from[onward] = come, step, gateway
                    if where[onward] < 0:
                        rise(heap, where, out, onward, waiting)
                        waiting += 1
                    else:
                        rise(heap, where, out, onward, where[onward])
        else:
            gateway = sink(heap_back, where_back, back, waiting_back)
            where_back[gateway] = DONE
            waiting_back -= 1
            for place in range(into_start[gateway], into_start[gateway + 1]):
                lightest, src, step = behind[place, LEAST], behind[place, OTHER], behind[place, LINK]
                if not plain:
                    lightest = scale * min(lightest, most_link)
                if near + far + lightest > cutoff + toll:
                    break
                rest_, own = out[src], far + lightest
                if own + min(near, rest_) > cutoff + toll or (own + rest_ > total and own + toll > back[src]):
                    continue
                weight = link[step]
                if not plain:
                    weight = weigh(weight, more_link[step], scale, factor, most_link, most_more)
                come = far + weight
                if come + min(near, rest_) > cutoff + toll:
                    continue
                if not usable[step] or free[step] < least or (least_back >= 0 and free[reverse[step]] < least_back):
                    continue
                if weight == 0:
                    alone = False
                whole = come + rest_
                if whole <= total and rest_ != NEVER:
                    if whole < total:
                        total, middle, before, equals = whole, step, src, 0
                        cutoff = min(total, most)
                    if equals < equal.size:
                        equal[equals] = step
                    equals += 1
                come += toll
                if come > back[src] or not relays[src] or where[src] == DONE or near - toll + come > cutoff:
                    continue
                tied_back[src] = come == back[src]
                if not tied_back[src]:
                    back[src], goes[src] = come, step
                    if where_back[src] < 0:
                        rise(heap_back, where_back, back, src, waiting_back)
                        waiting_back += 1
                    else:
                        rise(heap_back, where_back, back, src, where_back[src])
    if total == NEVER:
        return NEVER, False, np.empty(0, dtype=np.int64)
    hops, gateway = 0, before
    while came[gateway] >= 0:
        alone = alone and not tied[gateway]
        hops, gateway = hops + 1, came_from[gateway]
    alone = alone and not tied[gateway]
    more_hops, gateway = 0, before
    if middle >= 0:
        more_hops, gateway = 1, dst[middle]
        while goes[gateway] >= 0:
            alone = alone and not tied_back[gateway]
            more_hops, gateway = more_hops + 1, dst[goes[gateway]]
        alone = alone and not tied_back[gateway]
    steps = np.empty(2 + hops + more_hops, dtype=np.int64)
    steps[0], gateway = gateway, before
    for place in range(1 + hops, 1, -1):
        steps[place], gateway = came[gateway], came_from[gateway]
    steps[1] = gateway
    if middle >= 0:
        step = middle
        for place in range(2 + hops, steps.size):
            steps[place], step = step, goes[dst[step]]
    if equals > equal.size:
        alone = False
    for one in equal[: min(equals, equal.size)]:
        alone = alone and contains(steps[2:], one)
    # What either side left out for the other's sake, or had no more need to look at, is no nearer than this.
    least_far = min(far, total - near + toll) if waiting and waiting_back else 0
    for gateway in range(size):
        bound_ = 0 if where[gateway] == DONE else max(0, min(back[gateway], least_far))
        rest[gateway] = max(bound_, total - out[gateway]) if out[gateway] != NEVER else bound_
    return total, alone, steps
