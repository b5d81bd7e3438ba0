"""The least that sums along paths come to: Dijkstra's algorithm, over states and over gateways."""

from __future__ import annotations

import numpy as np

from foremesh.compiled import called, compiled
from foremesh.routing.kernels.heaps import rise, sink
from foremesh.routing.kernels.numbers import DONE, NEVER
from foremesh.routing.values import Bools, Ints

BUCKETS = 1024
"""Those beyond the last share it, and are looked at in any order."""


@called
def bound(
    into_src: Ints,
    into_start: Ints,
    into: Ints,
    reverse: Ints,
    relays: Bools,
    usable: Bools,
    free: Ints,
    least: int,
    least_back: int,
    groups: Ints,
    shift: int,
    exposure: int,
    link: Ints,
    end: Ints,
    ends: Ints,
    most: int,
    nearest: int,
    starting: Ints,
    arriving: Ints,
) -> int:
    """The least of a sum from each state to any destination (Dijkstra, backwards).

    Args:
        link, end: What the links and the last gateway add; ``exposure``: what going on from where it has come to does.
        ends: Not NEVER where a path may end.
        most: Sums above it are of no interest: NEVER.
        nearest: How many states are worked out; for the others, the sum that these reach up to is the result, which is
            less than theirs.
        starting: Result for a gateway where the path begins.
        arriving: Result for one that it has come to: a gateway that does not relay can only end it.

    Returns:
        The sum below which results are sums of paths, and not less than those.
    """
    everything = (1 << shift) - 1
    starting[:] = NEVER
    arriving[:] = NEVER
    heap, where = np.empty(starting.size, dtype=np.int64), np.full(starting.size, -1, dtype=np.int64)
    waiting, done = 0, 0
    for gateway in range(ends.size):
        if ends[gateway] != NEVER:
            state = gateway << shift | everything
            starting[state] = end[gateway]
            rise(heap, where, starting, state, waiting)
            waiting += 1
    while waiting:
        rest = starting[heap[0]]
        if rest > most:
            return int(rest)
        if done == nearest:
            for state in range(starting.size):
                if where[state] != DONE:
                    starting[state] = arriving[state] = rest
            return int(rest)
        state = sink(heap, where, starting, waiting)
        where[state] = DONE
        waiting, done = waiting - 1, done + 1
        gateway, passed = state >> shift, state & everything
        ending = end[gateway] if ends[gateway] != NEVER and passed == everything else NEVER
        if relays[gateway]:
            rest = min(ending, rest + exposure)
        elif ending == NEVER:
            continue
        else:
            rest = ending
        arriving[state] = rest
        here = groups[gateway]
        if here & ~passed:
            continue
        for position in range(into_start[gateway], into_start[gateway + 1]):
            step = into[position]
            total = rest + link[step]
            before = into_src[position] << shift | passed
            if shift == 0 and total >= starting[before]:
                continue
            if not usable[step] or free[step] < least or (least_back >= 0 and free[reverse[step]] < least_back):
                continue
            # Of the groups passed here, any may have been passed before as well.
            some = here
            while True:
                earlier = before & ~some
                if total < starting[earlier]:
                    starting[earlier] = total
                    if where[earlier] < 0:
                        rise(heap, where, starting, earlier, waiting)
                        waiting += 1
                    else:
                        rise(heap, where, starting, earlier, where[earlier])
                if some == 0:
                    break
                some = (some - 1) & here
    return NEVER


@compiled("void(i8[::1],i8[::1],b1[::1],i8[::1],i8,i8,i8[::1])")
def distances(begin: Ints, other: Ints, relays: Bools, link: Ints, root: int, shift: int, sums: Ints) -> None:
    """The least sums of paths that go on beyond one gateway, or that come to it from elsewhere, by the gateway where
    they end, or begin; none of the gateways passed, the one among them, is one that does not relay.

    Gateways wait in buckets, by the leading bits of their sums, in any order within one. Where a link adds less than
    the width of a bucket, some have to be looked at again, and there is no need for a heap (delta-stepping: Meyer and
    Sanders, Journal of Algorithms 49(1), 2003).

    Args:
        begin, other, link: Links by gateway: where those of each begin, the gateway at their other end, what they add.
        shift: Bits of a sum that make no difference to buckets.
        sums: Result; NEVER where there is no such path.
    """
    sums[:] = NEVER
    first, after, before = np.full(BUCKETS, -1), np.empty(sums.size, np.int64), np.full(sums.size, DONE)
    sums[root], first[0], after[root], before[root] = 0, root, -1, -1
    here, waiting = 0, 1
    while waiting:
        gateway = first[here]
        if gateway < 0:
            here += 1
            continue
        first[here] = after[gateway]
        if after[gateway] >= 0:
            before[after[gateway]] = -1
        before[gateway] = DONE
        waiting -= 1
        if not relays[gateway]:
            continue
        sum_ = sums[gateway]
        for place in range(begin[gateway], begin[gateway + 1]):
            total, onward = sum_ + link[place], other[place]
            if total >= sums[onward]:
                continue
            bucket, old = min(BUCKETS - 1, total >> shift), min(BUCKETS - 1, sums[onward] >> shift)
            sums[onward] = total
            if before[onward] == DONE:
                waiting += 1
            elif old == bucket:
                continue
            else:
                if after[onward] >= 0:
                    before[after[onward]] = before[onward]
                if before[onward] >= 0:
                    after[before[onward]] = after[onward]
                else:
                    first[old] = after[onward]
            after[onward], before[onward] = first[bucket], -1
            if first[bucket] >= 0:
                before[first[bucket]] = onward
            first[bucket] = onward
