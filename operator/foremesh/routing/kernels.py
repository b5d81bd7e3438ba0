"""The exact search, compiled: numbers in, numbers out. What it does and why is told in ``labels``.

Gateways and links are numbers; links are sorted by the gateway they leave. A *state* is a gateway and the groups passed
so far, its own among them, as bits: ``gateway << shift | passed``. ``NEVER`` stands for what cannot be had.
"""

from __future__ import annotations

import numpy as np

from foremesh.routing.compiled import called, compiled
from foremesh.routing.values import Bools, Ints

NEVER = 2**62
"""More than any sum; two of them still fit into 64 bits."""
END = -1
"""The step that ends a path, where a link's number would stand for going on."""

STATE, COST, BEST, RANK, PARENT, STEP, NEXT, SUMS = range(8)
"""Columns of a label, a partial path: where it is, what it costs, what it can cost at best once complete, links so far
(plus COMPLETE if it is a path), the label it goes on from, its last step, the next label settled in the same state, and
one column for each limit's sum."""
COMPLETE = 2**32
"""Put to the number of links of a complete path: it leaves the queue after partial ones of the same cost, so that a tie
is only decided once every path that shares it is complete."""


@called
def bound(
    src: Ints,
    into_start: Ints,
    into: Ints,
    relays: Bools,
    usable: Bools,
    groups: Ints,
    shift: int,
    link: Ints,
    end: Ints,
    ends: Ints,
    starting: Ints,
    arriving: Ints,
) -> None:
    """The least of a sum from each state to any destination; for meshes that are dense, without a queue.

    Args:
        link, end: What the links and the last gateway add.
        ends: Not NEVER where a path may end.
        starting: Result for a gateway where the path begins.
        arriving: Result for one that it has come to: a gateway that does not relay can only end it.
    """
    everything = (1 << shift) - 1
    starting[:] = NEVER
    arriving[:] = NEVER
    done = np.zeros(starting.size, dtype=np.bool_)
    for gateway in range(ends.size):
        if ends[gateway] != NEVER:
            starting[gateway << shift | everything] = end[gateway]
    while True:
        state, rest = -1, NEVER
        for candidate in range(starting.size):
            if starting[candidate] < rest and not done[candidate]:
                state, rest = candidate, starting[candidate]
        if state < 0:
            return
        done[state] = True
        gateway, passed = state >> shift, state & everything
        if not relays[gateway]:
            if ends[gateway] == NEVER or passed != everything:
                continue
            rest = end[gateway]
        arriving[state] = rest
        here = groups[gateway]
        if here & ~passed:
            continue
        for position in range(into_start[gateway], into_start[gateway + 1]):
            step = into[position]
            if not usable[step]:
                continue
            total = rest + link[step]
            # Of the groups passed here, any may have been passed before as well.
            some = here
            while True:
                earlier = src[step] << shift | (passed & ~some)
                if total < starting[earlier]:
                    starting[earlier] = total
                if some == 0:
                    break
                some = (some - 1) & here


@called
def sooner(labels: Ints, one: int, other: int) -> bool:
    """Whether one label leaves the queue before another: by cost at best, links, steps."""
    if labels[one, BEST] != labels[other, BEST]:
        return bool(labels[one, BEST] < labels[other, BEST])
    if labels[one, RANK] != labels[other, RANK]:
        return bool(labels[one, RANK] < labels[other, RANK])
    smaller = False
    while one != other:
        if labels[one, STEP] != labels[other, STEP]:
            smaller = labels[one, STEP] < labels[other, STEP]
        one, other = labels[one, PARENT], labels[other, PARENT]
    return smaller


@called
def push(labels: Ints, queue: Ints, waiting: int, label: int) -> None:
    """Put a label into a binary heap of so many."""
    place = waiting
    while place > 0:
        above = (place - 1) >> 1
        if not sooner(labels, label, queue[above]):
            break
        queue[place] = queue[above]
        place = above
    queue[place] = label


@called
def pop(labels: Ints, queue: Ints, waiting: int) -> int:
    """Take the first label out of a binary heap of so many."""
    first, last, place = queue[0], queue[waiting - 1], 0
    while True:
        below = 2 * place + 1
        if below >= waiting - 1:
            break
        if below + 1 < waiting - 1 and sooner(labels, queue[below + 1], queue[below]):
            below += 1
        if not sooner(labels, queue[below], last):
            break
        queue[place] = queue[below]
        place = below
    queue[place] = last
    return int(first)


@called
def dominates(labels: Ints, one: int, other: int, count: int, guarded: Bools, shift: int) -> bool:
    """Whether a label that left the queue earlier, in the same state, makes another superfluous: whatever the other
    goes on to, the one can too, at no more of anything. Where no gateway has to be passed, gateways that the one has
    been to do not matter: if the other's way crosses them, cutting out the loop is no worse."""
    for index in range(count):
        if labels[one, SUMS + index] > labels[other, SUMS + index]:
            return False
    while shift and one >= 0:
        gateway = labels[one, STATE] >> shift
        if guarded[gateway]:
            row = other
            while row >= 0 and labels[row, STATE] >> shift != gateway:
                row = labels[row, PARENT]
            if row < 0:
                return False
        one = labels[one, PARENT]
    return True


@called
def contains(numbers: Ints, number: int) -> bool:
    """Whether a short array holds a number."""
    found = False
    for one in numbers:
        found = found or one == number
    return found


@called
def grown(labels: Ints, queue: Ints) -> tuple[Ints, Ints]:
    """Labels and queue with twice the room."""
    rows = labels.shape[0]
    more, longer = np.empty((2 * rows, labels.shape[1]), dtype=np.int64), np.empty(2 * rows, dtype=np.int64)
    for row in range(rows):
        longer[row] = queue[row]
        for column in range(labels.shape[1]):
            more[row, column] = labels[row, column]
    return more, longer


@called
def settle(
    dst: Ints,
    out_start: Ints,
    relays: Bools,
    usable: Bools,
    groups: Ints,
    shift: int,
    exposure: int,
    link: Ints,
    start: Ints,
    end: Ints,
    sum_link: Ints,
    sum_start: Ints,
    sum_end: Ints,
    most: Ints,
    starting: Ints,
    arriving: Ints,
    count: int,
    prefix: Ints,
    banned: Ints,
    guarded: Bools,
) -> Ints:
    """Label setting under the first ``count`` limits; bounds are those of the objective, then of each limit.

    Args:
        prefix: Steps that the path begins with; may be empty.
        banned: Steps that it does not go on with after that: a first gateway if ``prefix`` is empty, else a link or
            END.
        guarded: Gateways that no path may come to twice; those of the prefix are not come to again anyway.

    Returns:
        The first path by cost, links and steps: its cost, its last gateway, then its steps. Empty if there is none.
    """
    everything = (1 << shift) - 1
    labels = np.empty((256, SUMS + count), dtype=np.int64)
    queue = np.empty(256, dtype=np.int64)
    settled = np.full(starting.shape[1], -1, dtype=np.int64)
    size, waiting, root = 0, 0, prefix.size - 1
    for number in range(start.size if prefix.size == 0 else 1):
        first = prefix[0] if prefix.size else number
        if start[first] == NEVER or (prefix.size == 0 and contains(banned, first)):
            continue
        while size + prefix.size + 2 > labels.shape[0]:
            labels, queue = grown(labels, queue)
        labels[size, STATE], labels[size, COST], labels[size, RANK] = first << shift | groups[first], start[first], 0
        labels[size, PARENT], labels[size, STEP] = -1, first
        for index in range(count):
            labels[size, SUMS + index] = sum_start[index, first]
        for position in range(1, prefix.size):
            step = prefix[position]
            size += 1
            labels[size, STATE] = dst[step] << shift | (labels[size - 1, STATE] & everything) | groups[dst[step]]
            labels[size, COST] = labels[size - 1, COST] + link[step] + (exposure if position > 1 else 0)
            labels[size, RANK], labels[size, PARENT], labels[size, STEP] = position, size - 1, step
            for index in range(count):
                labels[size, SUMS + index] = labels[size - 1, SUMS + index] + sum_link[index, step]
        bounds, state = arriving if prefix.size > 1 else starting, labels[size, STATE]
        fits = bounds[0, state] != NEVER
        for index in range(count):
            rest = bounds[index + 1, state]
            fits = fits and rest != NEVER and labels[size, SUMS + index] + rest <= most[index]
        if fits:
            labels[size, BEST] = labels[size, COST] + bounds[0, state]
            push(labels, queue, waiting, size)
            size, waiting = size + 1, waiting + 1
    while waiting:
        label = pop(labels, queue, waiting)
        waiting -= 1
        state, hops = labels[label, STATE], labels[label, RANK]
        gateway, passed = state >> shift, state & everything
        if hops >= COMPLETE:
            hops -= COMPLETE
            route = np.empty(hops + 3, dtype=np.int64)
            route[0], route[1] = labels[label, COST], gateway
            for position in range(hops, -1, -1):
                route[position + 2] = labels[label, STEP]
                label = labels[label, PARENT]
            return route
        if hops and label != root:
            other = settled[state]
            while other >= 0 and not dominates(labels, other, label, count, guarded, shift):
                other = labels[other, NEXT]
            if other >= 0:
                continue
            labels[label, NEXT] = settled[state]
            settled[state] = label
        while size + out_start[gateway + 1] - out_start[gateway] + 1 > labels.shape[0]:
            labels, queue = grown(labels, queue)
        if end[gateway] != NEVER and passed == everything and not (label == root and contains(banned, END)):
            fits = True
            for index in range(count):
                fits = fits and labels[label, SUMS + index] + sum_end[index, gateway] <= most[index]
            if fits:
                labels[size] = labels[label]
                labels[size, COST] += end[gateway]
                labels[size, BEST], labels[size, RANK] = labels[size, COST], COMPLETE + hops
                push(labels, queue, waiting, size)
                size, waiting = size + 1, waiting + 1
        if hops and not relays[gateway]:
            continue
        base = labels[label, COST] + (exposure if hops else 0)
        for step in range(out_start[gateway], out_start[gateway + 1]):
            onward = dst[step]
            target = onward << shift | passed | groups[onward]
            rest = arriving[0, target]
            if rest == NEVER or not usable[step] or (label == root and contains(banned, step)):
                continue
            fits = True
            for index in range(count):
                total = labels[label, SUMS + index] + sum_link[index, step]
                labels[size, SUMS + index] = total
                ahead = arriving[index + 1, target]
                fits = fits and ahead != NEVER and total + ahead <= most[index]
            row = label
            while fits and row >= 0:
                fits = labels[row, STATE] >> shift != onward or not (guarded[onward] or row <= root)
                row = labels[row, PARENT]
            if fits:
                labels[size, STATE], labels[size, COST], labels[size, BEST] = target, base + link[step], 0
                labels[size, BEST] = labels[size, COST] + rest
                labels[size, RANK], labels[size, PARENT], labels[size, STEP] = hops + 1, label, step
                push(labels, queue, waiting, size)
                size, waiting = size + 1, waiting + 1
    return np.empty(0, dtype=np.int64)


@compiled(
    "i8[::1](i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],b1[::1],b1[::1],i8[::1],i8,i8,i8[::1],i8[::1],i8[::1],"
    "i8[:,::1],i8[:,::1],i8[:,::1],i8[::1],i8[:,::1],i8[:,::1],b1[::1],i8[::1],i8[::1],b1[::1])"
)
def best(
    src: Ints,
    dst: Ints,
    out_start: Ints,
    into_start: Ints,
    into: Ints,
    relays: Bools,
    usable: Bools,
    groups: Ints,
    shift: int,
    exposure: int,
    link: Ints,
    start: Ints,
    end: Ints,
    sum_link: Ints,
    sum_start: Ints,
    sum_end: Ints,
    most: Ints,
    starting: Ints,
    arriving: Ints,
    ready: Bools,
    prefix: Ints,
    banned: Ints,
    guarded: Bools,
) -> Ints:
    """The first path that keeps every limit. Bounds are worked out when first needed (``ready``), and limits are left
    aside at first: if the cheapest path of all keeps them, it is the answer."""
    none = np.empty(0, dtype=np.int64)
    if not ready[0]:
        bound(src, into_start, into, relays, usable, groups, shift, link, end, end, starting[0], arriving[0])
        ready[0] = True
    for count in (0, most.size):
        for index in range(count):
            if not ready[index + 1]:
                row = index + 1
                bound(
                    src,
                    into_start,
                    into,
                    relays,
                    usable,
                    groups,
                    shift,
                    sum_link[index],
                    sum_end[index],
                    end,
                    starting[row],
                    arriving[row],
                )
                ready[row] = True
        route = settle(
            dst,
            out_start,
            relays,
            usable,
            groups,
            shift,
            exposure,
            link,
            start,
            end,
            sum_link,
            sum_start,
            sum_end,
            most,
            starting,
            arriving,
            count,
            prefix,
            banned,
            guarded,
        )
        if route.size == 0:
            return none
        fits = True
        for index in range(most.size):
            total = sum_start[index, route[2]] + sum_end[index, route[1]]
            for position in range(3, route.size):
                total += sum_link[index, route[position]]
            fits = fits and total <= most[index]
        if fits:
            return route
    return none
