"""In which links a snapshot differs from another, and that it differs too much for a plan to be made again; see
``replan``."""

from __future__ import annotations

from foremesh.model.link import MeshGraph, PredictedLink
from foremesh.routing.arrays import Arrays

AT_ONCE = 256
"""Links that are compared in one go: where all of them are the same objects, none is touched one by one."""


class FullPlan(Exception):
    """Only a full plan will do.

    Args:
        why: In a word, for metrics.
        told: At length.
    """

    def __init__(self, why: str, told: str) -> None:
        super().__init__(told)
        self.why = why


def changed_links(before: MeshGraph, after: MeshGraph, arrays: Arrays) -> dict[int, PredictedLink]:
    """The links of a snapshot that are not as they were, by number. Those that are the same objects are not looked
    into."""
    if before.nodes is not after.nodes and before.nodes != after.nodes:
        raise FullPlan("gateways", "gateways are not what they were")
    if len(before.links) != len(after.links):
        raise FullPlan("links", "links came or went")
    others = list[int]()
    for first in range(0, len(after.links), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        olds, news = before.links[some], after.links[some]
        if olds != news:
            others += [first + place for place, (old, new) in enumerate(zip(olds, news, strict=True)) if old is not new]
    if any(before.links[index].id != after.links[index].id for index in others):
        raise FullPlan("links", "links came or went")
    changed = (index for index in others if before.links[index] != after.links[index])
    number = arrays.topology.number_at
    return {number[index]: after.links[index] for index in changed if number[index] >= 0}
