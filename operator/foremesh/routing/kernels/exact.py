"""The first path that keeps every limit."""

from __future__ import annotations

import numpy as np

from foremesh.compiled import called, compiled
from foremesh.routing.kernels.bounds import bound
from foremesh.routing.kernels.meeting import meet
from foremesh.routing.kernels.numbers import HEAVY, NEVER
from foremesh.routing.kernels.settling import settle
from foremesh.routing.values import Bools, Ints

NEAREST = 2.0
"""How many states get bounds of their own before the first try, as a multiple of the square root of their number. About
as many are then looked at from the other side: a ball around each end, instead of one that reaches from end to end."""
ROOM = 4
"""How many labels there may be, as a multiple of the number of states, before a search under limits gets bounds for all
states: many partial paths that none beats in everything, and rough bounds let too many of them live."""
MULTIPLIERS = 10
"""How many multipliers to try for a limit at most; mostly it takes three to five."""
GUESSES, STEEPER = 2, 8.0
"""How many multipliers to guess before it is found out whether a limit can be kept at all, each so many times the one
before; the first makes the limit's sum as important as the cost."""
CLOSE = 12
"""A bound is good enough if what there is between it and a known path is no more than such a part: few partial paths
fit in between, and looking at them is quicker than another multiplier."""
DIGITS = 1024
"""How fine multipliers are: a bound hardly changes near the best one."""
ROUGH, FULL = 1, 2
"""How far bounds are worked out: for some states, for all that matter."""


@called
def added(steps: Ints, link: Ints, start: Ints, end: Ints) -> int:
    """A sum along a path: its last gateway, its first, its links."""
    total = start[steps[1]] + end[steps[0]]
    for one in steps[2:]:
        total += link[one]
    return int(total)


@called
def broken(steps: Ints, sum_link: Ints, sum_start: Ints, sum_end: Ints, most: Ints) -> Bools:
    """Which limits a path breaks."""
    found = np.zeros(most.size, dtype=np.bool_)
    for row in range(most.size):
        found[row] = added(steps, sum_link[row], sum_start[row], sum_end[row]) > most[row]
    return found


@compiled(
    "i8[::1](i8[:,::1],i8[:,::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],b1[::1],b1[::1],i8[::1],i8,i8,i8[::1],i8,i8,i8[::1],"
    "i8[::1],i8[::1],i8[:,::1],i8[:,::1],i8[:,::1],i8[::1],i8[:,::1],i8[:,::1],i8[::1],i8[::1],i8[::1],b1[::1],i8)"
)
def best(
    ahead: Ints,
    behind: Ints,
    into_src: Ints,
    dst: Ints,
    out_start: Ints,
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
    start: Ints,
    end: Ints,
    sum_link: Ints,
    sum_start: Ints,
    sum_end: Ints,
    most: Ints,
    starting: Ints,
    arriving: Ints,
    ready: Ints,
    prefix: Ints,
    banned: Ints,
    guarded: Bools,
    known: int,
) -> Ints:
    """The first path that keeps every limit. Limits are left aside until a path breaks them: one that is the cheapest
    without them and keeps them is the answer. Bounds are worked out when first needed, and as far as needed
    (``ready``). Dearer paths than one whose cost is ``known`` (NEVER: none is) are not looked at."""
    none = np.empty(0, dtype=np.int64)
    states = starting.shape[1]
    held, priced, reach = none, none, 0
    whole = prefix.size == 0 and banned.size == 0
    needed = ROUGH if whole else FULL
    found, scale, factor, budget = known, 0, 0, 0
    if whole and shift == 0:
        total, alone, steps = meet(
            dst,
            out_start,
            into_start,
            ahead,
            behind,
            reverse,
            relays,
            usable,
            free,
            least,
            least_back,
            exposure,
            link,
            start,
            end,
            link,
            start,
            end,
            1,
            0,
            NEVER,
            arriving[0],
        )
        if total == NEVER:
            return none
        starting[0, :] = 0
        ready[0] = ROUGH
        held = np.flatnonzero(broken(steps, sum_link, sum_start, sum_end, most))
        if held.size == 0 and alone:
            route = np.empty(steps.size + 1, dtype=np.int64)
            route[0] = total
            route[1:] = steps
            return route
        if held.size == 0:
            found = min(found, total)
        elif not alone:
            held = none  # others as cheap may keep them
        dual = held.size > 0
        if dual:
            # Lagrange's multiplier for the limit held first (LARAC: Juettner et al., INFOCOM 2001): between what weighs
            # the sum too little to keep the limit and what weighs it enough. Tried first are two that the cheapest path
            # suggests, then the sum alone, which decides whether there is a path at all.
            row = held[0]
            starting[row + 1, :] = 0
            arriving[row + 1, :] = 0
            ready[row + 1] = ROUGH
            over_cost, over_sum = total, added(steps, sum_link[row], sum_start[row], sum_end[row])
            under_cost, under_sum = NEVER, NEVER
            ratio = over_cost / over_sum
            for turn in range(MULTIPLIERS):
                if under_sum == NEVER and turn == GUESSES:
                    scale, factor = 0, 1
                elif ratio >= 1:
                    scale = max(1, int(DIGITS / ratio))
                    factor = int(min(float(HEAVY), max(1.0, ratio * scale)))
                else:
                    factor = DIGITS
                    scale = int(min(float(HEAVY), DIGITS / max(ratio, 1e-9)))
                sums = np.empty(states, dtype=np.int64) if scale else arriving[row + 1]
                known_sum = NEVER
                if scale and over_cost < 2**60 // scale and over_sum < 2**60 // factor:
                    known_sum = scale * over_cost + factor * over_sum
                    if under_sum != NEVER and under_cost < 2**60 // scale:
                        known_sum = min(known_sum, scale * under_cost + factor * under_sum)
                total, alone, steps = meet(
                    dst,
                    out_start,
                    into_start,
                    ahead,
                    behind,
                    reverse,
                    relays,
                    usable,
                    free,
                    least,
                    least_back,
                    exposure,
                    link,
                    start,
                    end,
                    sum_link[row],
                    sum_start[row],
                    sum_end[row],
                    scale,
                    factor,
                    known_sum,
                    sums,
                )
                cost = added(steps, link, start, end) + exposure * max(0, steps.size - 3)
                more = added(steps, sum_link[row], sum_start[row], sum_end[row])
                if scale == 0 and total > most[row]:
                    return none
                if more <= most[row] and not broken(steps, sum_link, sum_start, sum_end, most).any():
                    found = min(found, cost)
                if scale:
                    priced = sums
                    if found != NEVER and scale * found + factor * most[row] - total < total // CLOSE:
                        break
                    if scale * over_cost + factor * over_sum <= total and under_sum != NEVER:
                        break
                if more > most[row]:
                    over_cost, over_sum = cost, more
                elif (cost, more) == (under_cost, under_sum):
                    break
                else:
                    under_cost, under_sum = cost, more
                if under_sum == NEVER:
                    ratio *= STEEPER
                elif under_cost <= over_cost or over_sum <= under_sum:
                    break
                else:
                    ratio = (under_cost - over_cost) / (over_sum - under_sum)
            if scale == 0:
                priced = none
            if priced.size and (found == NEVER or found > 2**60 // scale or most[row] > 2**60 // factor):
                priced = none
            if priced.size:
                budget = scale * found + factor * most[row]
    while True:
        for index in range(held.size + 1):
            row = held[index - 1] + 1 if index else 0
            if ready[row] >= needed:
                continue
            known = bound(
                into_src,
                into_start,
                into,
                reverse,
                relays,
                usable,
                free,
                least,
                least_back,
                groups,
                shift,
                exposure if row == 0 else 0,
                link if row == 0 else sum_link[row - 1],
                end if row == 0 else sum_end[row - 1],
                end,
                NEVER if row == 0 else most[row - 1],
                int(NEAREST * np.sqrt(states)) if needed == ROUGH else states,
                starting[row],
                arriving[row],
            )
            ready[row] = needed
            if row == 0 and whole:
                reach = known
        room = ROOM * states if needed == ROUGH and held.size else NEVER
        route = settle(
            dst,
            out_start,
            reverse,
            relays,
            usable,
            free,
            least,
            least_back,
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
            held,
            prefix,
            banned,
            guarded,
            reach,
            room,
            found,
            priced,
            scale,
            factor,
            budget,
        )
        if route.size == 0:
            return none
        if route.size == 1:
            needed = FULL
            continue
        more_broken = broken(route[1:], sum_link, sum_start, sum_end, most)
        if not more_broken.any():
            return route
        for row in held:
            more_broken[row] = False
        held = np.append(held, np.flatnonzero(more_broken))
