"""Bandwidth kept for standbys, once for all circuits that cannot fail together.

When something fails, only circuits whose path it is on fall over. A link therefore keeps, not the sum of what may ever
fall over to it, but the most that does for any one failure: of a gateway, of a link, or of all that share a risk group.

Source: Kodialam and Lakshman, "Dynamic routing of bandwidth guaranteed tunnels with restoration", INFOCOM 2000 (sharing
with complete information); Li, Wang, Kalmanek and Doverspike, "Efficient distributed path selection for shared
restoration connections", IEEE/ACM Transactions on Networking 11(5), 2003 (the same, failure by failure).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from foremesh.model.link import Node
from foremesh.routing.arrays import Topology
from foremesh.routing.labels import Route
from foremesh.routing.values import Ints

Failure = tuple[str, int | str]
"""What may fail: a gateway or a link (either way) by number, or a risk group by name."""


class Reserve:
    """What standbys need of links, failure by failure; in the units of ``Ledger.free_units``."""

    def __init__(self, topology: Topology, nodes: Sequence[Node]) -> None:
        self._topology = topology
        self._nodes = nodes
        self._needed: dict[Failure, dict[int, int]] = {}

    def failures(self, route: Route) -> list[Failure]:
        """What a path does not survive and its ends do."""
        inside = [self._topology.ends[link] for link in route.links[:-1]]
        reverse = self._topology.reverse
        groups = {group for gateway in inside for group in self._nodes[gateway].risk_groups}
        return [
            *(("gateway", gateway) for gateway in inside),
            *(("link", min(link, back) if (back := int(reverse[link])) >= 0 else link) for link in route.links),
            *(("risk", group) for group in sorted(groups)),
        ]

    def left(self, free_units: Ints, failures: Iterable[Failure]) -> Ints:
        """What links have for a standby that is needed when one of these happens: what nobody is promised, less what
        others need then."""
        worst = np.zeros_like(free_units)
        for failure in failures:
            needed = self._needed.get(failure)
            if needed:
                links, units = (np.fromiter(part, np.int64, len(needed)) for part in (needed.keys(), needed.values()))
                worst[links] = np.maximum(worst[links], units)
        left: Ints = np.where(free_units >= 0, np.maximum(0, free_units - worst), free_units)
        return left

    def keep(self, failures: Iterable[Failure], loads: Mapping[int, int]) -> None:
        """Keep so much of each link for when one of these happens."""
        for failure in failures:
            needed = self._needed.setdefault(failure, {})
            for link, units in loads.items():
                needed[link] = needed.get(link, 0) + units

    def needed(self, failure: Failure, link: int) -> int:
        """What one failure needs of a link."""
        return self._needed.get(failure, {}).get(link, 0)
