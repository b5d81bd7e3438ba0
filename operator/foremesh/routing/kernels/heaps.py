"""Binary heaps of states by key, with the place of each state, so that it can move up."""

from __future__ import annotations

from foremesh.compiled import called
from foremesh.model.series import Floats
from foremesh.routing.values import Ints, Numbers


@called
def rise(heap: Ints | Numbers, where: Ints | Numbers, keys: Ints | Floats, state: int, place: int) -> None:
    """Put a state, or move it up, in a binary heap by key, from this place."""
    while place > 0:
        above = (place - 1) >> 1
        if keys[heap[above]] <= keys[state]:
            break
        heap[place] = heap[above]
        where[heap[place]] = place
        place = above
    heap[place] = state
    where[state] = place


@called
def sink(heap: Ints | Numbers, where: Ints | Numbers, keys: Ints | Floats, waiting: int) -> int:
    """Take the state with the least key out of a binary heap of so many."""
    first, last, place = heap[0], heap[waiting - 1], 0
    while True:
        below = 2 * place + 1
        if below >= waiting - 1:
            break
        if below + 1 < waiting - 1 and keys[heap[below + 1]] < keys[heap[below]]:
            below += 1
        if keys[heap[below]] >= keys[last]:
            break
        heap[place] = heap[below]
        where[heap[place]] = place
        place = below
    heap[place] = last
    where[last] = place
    return int(first)
