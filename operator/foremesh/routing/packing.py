"""Which of its ways everybody takes so that all fit: numbers in, numbers out.

Links hold so much; each unit (what has to take one way as a whole) may take one of several ways, or none. As much as
can be is served, at the least cost: a multiple-choice knapsack with as many sacks as there are links. It is solved by
ruin and recreate: a few units around a full link are taken out and put back in another order, and what is no worse
stays. Chance is drawn from a fixed seed, so the same question has the same answer.

References: Schrimpf, Schneider, Stamm-Wilbrandt and Dueck, "Record breaking optimization results using the ruin and
recreate principle", Journal of Computational Physics 159(2), 2000. Shaw, "Using constraint programming and local search
methods to solve vehicle routing problems", CP 1998.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROUNDS = 80
"""Rounds of ruin and recreate per unit in question; more gain less than a thousandth of what is served."""
MOST_ROUNDS = 6_000
"""Rounds at most: about a second."""
PATIENCE = 0.4
"""Share of the rounds without a gain after which it ends."""
RUIN = (2, 12)
"""How many units are taken out at once, at least and at most."""
BLINK = 0.1
"""Chance that the best way is passed over for the next, so that the same order does not always end the same
(Christiaens and Vanden Berghe, "Slack induction by string removals", Transportation Science 54(2), 2020)."""
SWERVE = 0.01
"""Share by which the cost may be worse than the best known and still be gone on from."""

NONE = -1
"""Stands for no way."""
MOST = 2**62
"""More than any link holds."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way that a unit may take."""

    cost: int
    value: int
    """What it serves that is not served without it."""
    loads: Mapping[int, int]
    """By link, what it takes of it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What takes one way as a whole."""

    ways: tuple[Way, ...]
    must: bool
    """It cannot be left out: it has a way in the first choice."""


def rounds_for(units: Sequence[Unit]) -> int:
    """Rounds that are worth while."""
    return min(MOST_ROUNDS, ROUNDS * sum(bool(unit.ways) for unit in units))


def pack(units: Sequence[Unit], room: Mapping[int, int], first: Sequence[int], rounds: int = MOST_ROUNDS) -> list[int]:
    """Choose a way for each unit.

    Args:
        units: What is to be placed.
        room: By link, what it holds; links that are not in it hold everything.
        first: A choice that fits: by unit, the number of its way, or NONE.
        rounds: As many as it may take; no more than ``rounds_for`` are.

    Returns:
        The best choice found: it fits, leaves out none that must be served, and serves as much as the first for no more
        cost, or more.
    """
    return _Packing(units, room, first).run(min(rounds, rounds_for(units)))


def worth(units: Sequence[Unit], room: Mapping[int, int], choice: Sequence[int]) -> tuple[int, int]:
    """What a choice serves, and the negative of what it costs; less than any other if it does not fit, or leaves out
    who must be served."""
    left, value, cost = dict(room), 0, 0
    for unit, chosen in zip(units, choice, strict=True):
        if chosen == NONE:
            if unit.must:
                return (-1, -MOST)
            continue
        way = unit.ways[chosen]
        value, cost = value + way.value, cost + way.cost
        for link, load in way.loads.items():
            if link in left:
                left[link] -= load
    return (-1, -MOST) if min(left.values(), default=0) < 0 else (value, -cost)


class _Packing:
    def __init__(self, units: Sequence[Unit], room: Mapping[int, int], first: Sequence[int]) -> None:
        self.units = units
        self.loads = [
            [[(link, load) for link, load in way.loads.items() if load and link in room] for way in unit.ways]
            for unit in units
        ]
        self.choice = list(first)
        self.left = dict(room)
        self.on: dict[int, set[int]] = {link: set() for link in room}
        self.value = self.cost = 0
        self.random = random.Random(1)
        for unit, way in enumerate(first):
            if way != NONE:
                self._put(unit, way)
        self.order = [sorted(range(len(unit.ways)), key=lambda way: (unit.ways[way].cost, way)) for unit in units]
        self.able = [unit for unit, one in enumerate(units) if one.ways]
        self.largest = [max((way.value for way in unit.ways), default=0) for unit in units]
        self.slightest = [min((sum(load for _, load in way) for way in ways), default=0) for ways in self.loads]
        self.best_value = sum(self.largest)
        self.least_cost = sum(min((way.cost for way in unit.ways), default=0) for unit in units)

    def run(self, rounds: int) -> list[int]:
        best, best_score = list(self.choice), (self.value, -self.cost)
        quiet = 0
        for _ in range(rounds):
            if best_score == (self.best_value, -self.least_cost) or quiet > PATIENCE * rounds:
                break
            before = dict[int, int]()
            was = (self.value, self.cost)
            if self._round(before) and self._bearable(was, best_score):
                score = (self.value, -self.cost)
                quiet += 1
                if score > best_score:
                    best, best_score, quiet = list(self.choice), score, 0
            else:
                quiet += 1
                for unit in before:
                    if self.choice[unit] != NONE:
                        self._take(unit)
                for unit, way in before.items():
                    if way != NONE:
                        self._put(unit, way)
        return best

    def _bearable(self, was: tuple[int, int], best: tuple[int, int]) -> bool:
        """Whether to go on from here: it is no worse than it was, or hardly worse than the best."""
        if self.value != was[0]:
            return self.value > was[0]
        return self.cost <= was[1] or (self.value == best[0] and self.cost <= -best[1] * (1 + SWERVE))

    def _round(self, before: dict[int, int]) -> bool:
        """Take some out and put them back; ``before`` gets what they had. False if one that must be served is not."""
        chance = self.random
        out = self._ruin()
        for unit in out:
            before[unit] = self.choice[unit]
            if self.choice[unit] != NONE:
                self._take(unit)
        return self._recreate(out, chance)

    def _ruin(self) -> list[int]:
        """Units around a full link that somebody would rather use."""
        chance = self.random
        number = chance.randint(*RUIN)
        seed = chance.choice(self.able)
        for _ in range(8):  # somebody who does not have what he would like best
            if self.choice[seed] == NONE or self.choice[seed] != self.order[seed][0]:
                break
            seed = chance.choice(self.able)
        links = {link for way in self.loads[seed] for link, _ in way}
        if not links:
            return [seed]
        some = chance.sample(sorted(links), min(len(links), 3))
        near = sorted({unit for link in some for unit in self.on[link]} - {seed})
        found = [seed, *chance.sample(near, min(len(near), number))]
        idle = [unit for unit in self.able if self.choice[unit] == NONE and unit != seed]
        return found + chance.sample(idle, min(len(idle), number))

    def _recreate(self, out: list[int], chance: random.Random) -> bool:
        rule = chance.randrange(4)
        chance.shuffle(out)
        if rule == 1:
            out.sort(key=lambda unit: -self.largest[unit])
        elif rule == 2:
            out.sort(key=lambda unit: self.slightest[unit])
        elif rule == 3:
            out.sort(key=lambda unit: sum(self._fits(way) for way in self.loads[unit]))
        out.sort(key=lambda unit: not self.units[unit].must)
        for unit in out:
            way = self._pick(unit, chance)
            if way != NONE:
                self._put(unit, way)
            elif self.units[unit].must:
                return False
        return True

    def _pick(self, unit: int, chance: random.Random) -> int:
        last = NONE
        for way in self.order[unit]:
            if self._fits(self.loads[unit][way]):
                last = way
                if chance.random() >= BLINK:
                    return way
        return last

    def _fits(self, loads: list[tuple[int, int]]) -> bool:
        left = self.left
        return all(left[link] >= load for link, load in loads)

    def _put(self, unit: int, way: int) -> None:
        self.choice[unit] = way
        for link, load in self.loads[unit][way]:
            self.left[link] -= load
            self.on[link].add(unit)
        chosen = self.units[unit].ways[way]
        self.value, self.cost = self.value + chosen.value, self.cost + chosen.cost

    def _take(self, unit: int) -> None:
        way = self.choice[unit]
        for link, load in self.loads[unit][way]:
            self.left[link] += load
            self.on[link].discard(unit)
        chosen = self.units[unit].ways[way]
        self.value, self.cost = self.value - chosen.value, self.cost - chosen.cost
        self.choice[unit] = NONE
