"""Which label a circuit sends on. Pure."""

from __future__ import annotations

from collections import namedtuple

DEGRADED_SHARE = 0.2
"""Share of hellos missed in a second (4 of 20) from which a label is degraded: at 1 % of random loss once in hours, at
30 % within a second."""
BETTER_FACTOR = 4
"""How many times fewer the other one must miss: a loss that both share is no reason to move."""


class Way(namedtuple("Way", "alive dead missed", defaults=(False, False, 0.0))):
    """What is known of a label.

    Attributes:
        alive: Hellos pass in both directions.
        dead: Known not to work in one of them. Neither: unknown.
        missed: Share of the newest hellos that did not arrive, in the worse direction.
    """

    __slots__ = ()


NOTHING_KNOWN = Way()
WELL = Way(alive=True)


def harmless(way: Way) -> Way:
    """The same without a loss that decides nothing: below what degrades a label, and too little to make another one
    no better. So that a hello missed now and then is no reason to choose anew."""
    return way if way.missed * BETTER_FACTOR > DEGRADED_SHARE else way._replace(missed=0.0)


def choose(
    used: int | None, send: int | None, standby: int | None, *, renamed: bool, ways: dict[int, Way]
) -> int | None:
    """The label to send on.

    Args:
        used: The one that is used now; None if there is none.
        send, standby: What the config names; None if it names none.
        renamed: The config has named another ``send`` than before.
        ways: What is known of labels.

    Returns:
        One of ``send`` and ``standby``; None if there is neither. What is used stays, unless it is dead, or misses
        much more than the other, and the other is alive. There is no way back but the same, or the config's word.
    """
    if send is None or standby is None:
        return send if send is not None else standby
    current = send if renamed or used not in (send, standby) else used
    other = standby if current == send else send
    here, there = ways.get(current, NOTHING_KNOWN), ways.get(other, NOTHING_KNOWN)
    degraded = here.missed >= DEGRADED_SHARE and there.missed * BETTER_FACTOR <= here.missed
    return other if there.alive and not there.dead and (here.dead or degraded) else current
