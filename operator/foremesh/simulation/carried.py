"""Placements as traffic: which links they load, what circuits stand for them, and how well they are served."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus, LabelAllocation, LabelState
from foremesh.model.meta import Meta, Ref
from foremesh.model.plan import Path, Placement
from foremesh.model.series import Floats
from foremesh.network.circuits import circuit_id
from foremesh.simulation.scene import Scene
from foremesh.simulation.world import LinkState

Moved = tuple[datetime | None, Path | None]


class Carried:
    """Where every demand of a scene runs. Immutable.

    Args:
        placements: In the order of the scene's demands.
        before: Where they ran so far.
        now_s: Unix time at which they came to be as they are.
    """

    def __init__(
        self, scene: Scene, placements: Sequence[Placement], before: Carried | None = None, *, now_s: float = 0.0
    ) -> None:
        self.placements = tuple(placements)
        old = before.moved if before else ((None, None),) * len(self.placements)
        places = [one.path for one in (before.placements if before else self.placements)]
        paths = [one.path for one in self.placements]
        self.moved: tuple[Moved, ...] = tuple(
            (datetime.fromtimestamp(now_s, UTC), was) if was and is_ and was.links != is_.links else last
            for was, is_, last in zip(places, paths, old, strict=True)
        )
        """Of each, when it last changed its path, and which one it left."""
        self._scene = scene
        row = scene.row
        self._on = before._on.copy() if before else np.zeros((len(placements), len(scene.links)))
        """1 for each link of a demand's path."""
        self._back = before._back.copy() if before else np.zeros_like(self._on)
        """The same the other way, for what comes back."""
        for index, (was, is_) in enumerate(zip(places, paths, strict=True)):
            if before and (was.links if was else ()) == (is_.links if is_ else ()):
                continue
            self._on[index] = self._back[index] = 0.0
            for link in is_.links if is_ else ():
                self._on[index, row[link]] = 1.0
                if link.reverse in row:
                    self._back[index, row[link.reverse]] = 1.0

    @cached_property
    def own_bps(self) -> Floats:
        """What the placements put on every link, shape (links,)."""
        forward_bps, back_bps = self._scene.rates_bps
        return forward_bps @ self._on + back_bps @ self._back

    @cached_property
    def circuits(self) -> tuple[Circuit, ...]:
        """What is in place, as the operator would have it on record."""
        found: dict[str, Circuit] = {}
        for demand, placement, moved in zip(self._scene.demands, self.placements, self.moved, strict=True):
            if placement.path is None or not placement.path.links:
                continue
            gateways = placement.path.gateways
            id_ = circuit_id(gateways[0], gateways[-1], demand.class_)
            shared = found[id_].status.intents if id_ in found else ()
            found[id_] = _circuit(id_, demand.class_, placement.path, (*shared, demand.intent.id), moved)
        return tuple(found.values())

    def judge(self, state: LinkState) -> tuple[Floats, NDArray[np.bool_]]:
        """Hold what was true against what was asked.

        Returns:
            Each demand's true round trip, NaN where not placed or cut off, and whether it missed a requirement; both of
            shape (demands, minutes). Not to be placed is to miss everything.
        """
        most_ms, most_loss, asks_bps = self._scene.limits
        placed = np.array([one.path is not None for one in self.placements])[:, None]
        cut = self._on @ ~state.up > 0
        rtt_ms = self._on @ np.where(state.up, state.rtt_ms, 0.0) + self._attached_ms[:, None]
        loss = 1 - np.exp(self._on @ np.log1p(-np.clip(state.loss, 0.0, 1 - 1e-12)))
        full = (self._on @ (state.free_bps <= 0) > 0) & asks_bps[:, None]
        missed = ~placed | cut | (rtt_ms > most_ms[:, None]) | (loss > most_loss[:, None]) | full
        return np.where(placed & ~cut, rtt_ms, np.nan), missed

    @cached_property
    def _attached_ms(self) -> Floats:
        """Round trips of the attachments at both ends, shape (demands,); one that is unknown is taken for 0 here, for
        every policy alike."""
        found = np.zeros(len(self.placements))
        for index, (demand, one) in enumerate(zip(self._scene.demands, self.placements, strict=True)):
            if one.path is not None:
                first, last = one.path.gateways[0], one.path.gateways[-1]
                ends = [demand.source_gateways.get(first)]
                ends += [each.gateways.get(last) for each in demand.candidates if each.resource.id == one.destination]
                found[index] = sum(rtt_ms or 0.0 for rtt_ms in ends)
        return found


def _circuit(id_: str, class_: str, path: Path, intents: tuple[str, ...], moved: Moved) -> Circuit:
    ref, gateways, left = Ref.parse(id_), path.gateways, moved[1]
    underlays = _underlays(path)
    return Circuit(
        meta=Meta(name=ref.name, namespace=ref.namespace),
        spec=CircuitSpec(from_=gateways[0], to=gateways[-1], class_=class_),
        status=CircuitStatus(
            path=gateways,
            intents=intents,
            moved_at=moved[0],
            moved_from=left.gateways if left else (),
            moved_from_underlays=_underlays(left) if left else (),
            labels=(LabelAllocation(number=0, state=LabelState.ACTIVE, path=gateways, underlays=underlays),),
        ),
    )


def _underlays(path: Path) -> tuple[str, ...]:
    return tuple([link.underlay for link in path.links])
