"""What agents say of links, before any measurement says it: which are too narrow, and which pass no hellos."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from foremesh.decide.values import Observed
from foremesh.model.circuit import Circuit, LabelAllocation, LabelState
from foremesh.model.link import Figure, LinkId, MeshGraph
from foremesh.network.labels import PATIENCE_S
from foremesh.network.mtu import LEAST_LINK_MTU, link_mtu, links_of
from foremesh.network.programmed import Applied, ends_of, passed

ALL = Figure(median=1.0, pessimistic=1.0)
"""Loss of a link that nothing passes."""


def applied(observed: Observed) -> Applied:
    """What the network room wants to know of agents."""
    return Applied(observed.configs, observed.acks, observed.beacons)


def narrow_links(links: Iterable[LinkId], observed: Observed) -> dict[LinkId, int]:
    """Links that do not carry whole what a circuit needs at least, and the bytes they do; no path is planned over
    them. A link that nobody has measured is not among them."""
    sizes = {link: link_mtu(link, applied(observed)) for link in links}
    return {link: mtu for link, mtu in sizes.items() if mtu is not None and mtu < LEAST_LINK_MTU}


def silent_links(circuits: Iterable[Circuit], observed: Observed, *, now_s: float) -> frozenset[LinkId]:
    """Links of paths on which no hellos pass, both ways, unless they pass there on another path.

    The ends know of a dead path long before the means that forecasts rest on do; they do not know which of its links it
    is. Only the word of two ends counts that are both present and both watch: a fail-over process that is down is
    heard by nobody, and no link is to blame for that.

    Args:
        now_s: Unix time. A label that is Active before hellos were waited for is given a while for the first ones.
    """
    passed, doubted = set[LinkId](), set[LinkId]()
    words = applied(observed)
    for circuit in circuits:
        ends = ends_of(circuit.spec)
        if not all(words.watches(end) for end in ends):
            continue
        for label in circuit.status.labels:
            both = {way for link in links_of(label) for way in (link, link.reverse)}
            if any(words.hears(end, label.number) for end in ends):
                passed |= both
            elif _should_be_heard(label, now_s):
                doubted |= both
    return frozenset(doubted - passed)


def without_hope(graph: MeshGraph, silent: Collection[LinkId]) -> MeshGraph:
    """The graph with links that pass no hellos counted as dead, whatever is forecast for them."""
    links = (msgspec.structs.replace(one, loss=ALL, course=None) if one.id in silent else one for one in graph.links)
    return msgspec.structs.replace(graph, links=tuple(links)) if silent else graph


def sizes_text(narrow: Mapping[LinkId, int], gateway: str) -> str:
    """What is wrong with the links of a gateway, for people; empty if nothing is."""
    told = [f"{link.dst} over {link.underlay} ({mtu} bytes)" for link, mtu in narrow.items() if link.src == gateway]
    if not told:
        return ""
    return f"no path is planned over its links to {', '.join(told)}: a circuit needs {LEAST_LINK_MTU} whole"


def _should_be_heard(label: LabelAllocation, now_s: float) -> bool:
    if label.state is LabelState.ACTIVE:
        return passed(PATIENCE_S, label.epoch, now_s)
    return label.state is LabelState.STANDBY
