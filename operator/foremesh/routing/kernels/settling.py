"""Label setting: partial paths leave a queue in the order of what they cost at best."""

from __future__ import annotations

import numpy as np

from foremesh.compiled import called
from foremesh.routing.kernels.meeting import contains
from foremesh.routing.kernels.numbers import END, NEVER
from foremesh.routing.values import Bools, Ints

STATE, COST, BEST, RANK, PARENT, STEP, NEXT, SUMS = range(8)
"""Columns of a label, a partial path: where it is, what it costs, what it can cost at best once complete, links so far
(plus COMPLETE if it is a path), the label it goes on from, its last step, the next label settled in the same state, and
one column for each limit's sum."""
COMPLETE = 2**32
"""Put to the number of links of a complete path: it leaves the queue after partial ones of the same cost, so that a tie
is only decided once every path that shares it is complete."""


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
    goes on to, the one can too, at no more of anything. It may cost more nevertheless, as bounds of some states may be
    closer than those of their neighbours. Where no gateway has to be passed, gateways that the one has been to do not
    matter: if the other's way crosses them, cutting out the loop is no worse."""
    if not sooner(labels, one, other):
        return False
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
    start: Ints,
    end: Ints,
    sum_link: Ints,
    sum_start: Ints,
    sum_end: Ints,
    most: Ints,
    starting: Ints,
    arriving: Ints,
    held: Ints,
    prefix: Ints,
    banned: Ints,
    guarded: Bools,
    reach: int,
    room: int,
    found: int,
    priced: Ints,
    scale: int,
    factor: int,
    budget: int,
) -> Ints:
    """Label setting under some of the limits (``held``); bounds are those of the objective, then of each limit.

    Args:
        prefix: Steps that the path begins with; may be empty.
        banned: Steps that it does not go on with after that: a first gateway if ``prefix`` is empty, else a link or
            END.
        guarded: Gateways that no path may come to twice; those of the prefix are not come to again anyway.
        reach: Below it, what the objective has still to come is known and not only bounded.
        room: How many labels to make at most.
        found: Cost of a path that keeps all limits; NEVER if none is known.
        priced: Bounds of ``scale`` times the objective and ``factor`` times the sum of the limit held first, which
            together must stay within ``budget``; may be empty.

    Returns:
        The first path by cost, links and steps: its cost, its last gateway, then its steps. Empty if there is none, a
        single number if there was no room to find out.
    """
    everything, count = (1 << shift) - 1, held.size
    labels = np.empty((256, SUMS + count), dtype=np.int64)
    queue = np.empty(256, dtype=np.int64)
    settled = np.full(starting.shape[1], -1, dtype=np.int64)
    # Without limits and groups, a dearer way to the same gateway is of no use, though the cheaper still waits.
    plain = count == 0 and shift == 0
    cheapest = np.full(starting.shape[1] if plain else 0, NEVER, dtype=np.int64)
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
            labels[size, SUMS + index] = sum_start[held[index], first]
        for position in range(1, prefix.size):
            step = prefix[position]
            size += 1
            labels[size, STATE] = dst[step] << shift | (labels[size - 1, STATE] & everything) | groups[dst[step]]
            labels[size, COST] = labels[size - 1, COST] + link[step] + (exposure if position > 1 else 0)
            labels[size, RANK], labels[size, PARENT], labels[size, STEP] = position, size - 1, step
            for index in range(count):
                labels[size, SUMS + index] = labels[size - 1, SUMS + index] + sum_link[held[index], step]
        bounds, state = arriving if prefix.size > 1 else starting, labels[size, STATE]
        fits = bounds[0, state] != NEVER
        for index in range(count):
            rest = bounds[held[index] + 1, state]
            fits = fits and rest != NEVER and labels[size, SUMS + index] + rest <= most[held[index]]
        if fits:
            labels[size, BEST] = labels[size, COST] + bounds[0, state]
            push(labels, queue, waiting, size)
            size, waiting = size + 1, waiting + 1
    while waiting:
        if size > room:
            return np.zeros(1, dtype=np.int64)
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
                fits = fits and labels[label, SUMS + index] + sum_end[held[index], gateway] <= most[held[index]]
            if fits:
                labels[size] = labels[label]
                labels[size, COST] += end[gateway]
                labels[size, BEST], labels[size, RANK] = labels[size, COST], COMPLETE + hops
                found = min(found, labels[size, COST])
                push(labels, queue, waiting, size)
                size, waiting = size + 1, waiting + 1
        if hops and not relays[gateway]:
            continue
        base = labels[label, COST] + (exposure if hops else 0)
        for step in range(out_start[gateway], out_start[gateway + 1]):
            onward = dst[step]
            target = onward << shift | passed | groups[onward]
            rest, cost = arriving[0, target], base + link[step]
            if rest == NEVER or cost + rest > found or (plain and cost > cheapest[target]):
                continue
            if not usable[step] or free[step] < least or (least_back >= 0 and free[reverse[step]] < least_back):
                continue
            if label == root and contains(banned, step):
                continue
            if plain and rest < reach:
                found = min(found, cost + rest)
            fits = True
            for index in range(count):
                total = labels[label, SUMS + index] + sum_link[held[index], step]
                labels[size, SUMS + index] = total
                ahead = arriving[held[index] + 1, target]
                fits = fits and ahead != NEVER and total + ahead <= most[held[index]]
            if priced.size and fits:
                fits = scale * cost + factor * labels[size, SUMS] + priced[target] <= budget
            row = label
            while fits and row >= 0:
                fits = labels[row, STATE] >> shift != onward or not (guarded[onward] or row <= root)
                row = labels[row, PARENT]
            if fits:
                if plain:
                    cheapest[target] = cost
                labels[size, STATE], labels[size, COST], labels[size, BEST] = target, cost, cost + rest
                labels[size, RANK], labels[size, PARENT], labels[size, STEP] = hops + 1, label, step
                push(labels, queue, waiting, size)
                size, waiting = size + 1, waiting + 1
    return np.empty(0, dtype=np.int64)
