"""The failover process without its sockets: hellos in and out, and which label each circuit is to use.

Pure but for its own state: every time is passed in, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator

from foremesh.agent.failover import wire
from foremesh.agent.failover.choice import NOTHING_KNOWN, WELL, Way, choose, harmless
from foremesh.agent.failover.session import FarEnd, Session, Timing

LOOK_AGAIN_SHARE = 0.2
"""Share of an interval after which a silent route is looked at again, whose loss is not proven yet."""
LONGEST_INTERVAL_S = 65.0
"""What a hello has room for; see ``wire``."""
PROOF_WAIT_S = 1.0
"""Seconds for which that is done; what comes later is seen with the next hellos."""


class TableError(ValueError):
    """A table that cannot be read; the one before stays."""


class Label:
    """A label as its end has it. ``firm``: a circuit sends on it or may switch to it, so no gateway on its way may
    forget it; others come and go."""

    __slots__ = ("far", "firm", "number", "own")

    def __init__(self, number: int, own: str, far: str, firm: bool) -> None:
        self.number, self.own, self.far, self.firm = number, own, far, firm


class Route:
    """Labels that live and die together, and the session that speaks for them.

    Attributes:
        circuits: Names of those that may send on it.
        way: What was known of it at the last decision.
    """

    __slots__ = ("_firm", "_heard_on", "_turn", "circuits", "labels", "session", "way")

    def __init__(self, labels: list[Label], session: Session) -> None:
        self.labels = labels
        self.session = session
        self.circuits: list[str] = []
        self.way = NOTHING_KNOWN
        self._turn = 0
        self._firm = next((label for label in labels if label.firm), None)
        self._heard_on: Label | None = None

    def heard_on(self, far: str) -> None:
        if self._firm is None:
            self._heard_on = next(label for label in self.labels if label.far == far)

    def sends_on(self, now_s: float) -> Label:
        """The label for the next hello: one that surely is set up all the way; else one that works; else in turn."""
        if self._firm is not None:
            return self._firm
        if self._heard_on is None or self.session.silent(now_s):
            self._turn += 1
            return self.labels[self._turn % len(self.labels)]
        return self._heard_on


class Circuit:
    """One end of a circuit.

    Attributes:
        local, remote: Its addresses, which are rewritten to those of a label.
        send, standby: Labels that the config names.
        renamed: The config has named another ``send`` since the last decision.
        used: The label that it sends on, as the maps say.
        failovers: How often it was changed without the config's word.
    """

    __slots__ = ("failovers", "local", "remote", "renamed", "send", "standby", "used")

    def __init__(self, local: str, remote: str, send: int | None, standby: int | None) -> None:
        self.local, self.remote, self.send, self.standby = local, remote, send, standby
        self.renamed = False
        self.used: int | None = None
        self.failovers = 0


class Engine:
    """Sessions and circuits of one end.

    Args:
        incarnation: A number that no earlier process of this host had.

    Attributes:
        changes: Counts up when ``decide`` finds another state of any route than before, and when a table or a choice
            was taken: as long as it stays, there is nothing new to do or to tell.
    """

    def __init__(self, incarnation: int) -> None:
        self.timing = Timing()
        self.digest = ""
        self.circuits: dict[str, Circuit] = {}
        self.routes: dict[str, Route] = {}
        self.labels: dict[int, Label] = {}
        self._fars: dict[str, FarEnd] = {}
        self._by_address: dict[str, Route] = {}
        self._route_of: dict[int, Route] = {}
        self._incarnation = incarnation
        self._tick = 0
        self.changes = 0
        self._ways: dict[int, Way] = {}
        self._open: set[str] = set()
        """Circuits that are to be chosen for anew."""
        self._choice: dict[str, int | None] = {}

    def configure(self, table: dict, written: tuple[dict[str, str], dict[str, str]]) -> None:
        """Take a table as ``client.table`` makes it.

        Args:
            written: What the maps hold: local to own address, remote to far address. From them it is known what is
                used, over a restart of this process too.

        Raises:
            TableError: If it is none.
        """
        try:
            timing = Timing(float(table["interval_ms"]) / 1000, int(table["missed"]))
            circuits = {
                str(name): Circuit(str(c["local"]), str(c["remote"]), c["send"], c["standby"])
                for name, c in table["circuits"].items()
            }
            firm = {number for c in circuits.values() for number in (c.send, c.standby) if number is not None}
            parts = {
                str(name): (
                    str(route["far"]),
                    [Label(n, own, far, n in firm) for n, own, far in sorted(route["labels"])],
                )
                for name, route in table["routes"].items()
            }
            digest = str(table["digest"])
            if not 0 < timing.interval_s <= LONGEST_INTERVAL_S or timing.missed < 1:
                raise ValueError(f"an interval that is not within 0 and {LONGEST_INTERVAL_S} s, or none missed")
            if missing := firm - {label.number for _, labels in parts.values() for label in labels}:
                raise ValueError(f"circuits on labels {sorted(missing)}, which are on no route")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(f"table not understood ({error!r}); the one before stays") from error

        self._fars = {far: self._fars.get(far) or FarEnd() for far, _ in parts.values()}
        routes = {}
        for name, (far, labels) in parts.items():
            before = self.routes.get(name)
            kept = before.session if before and before.session.far is self._fars[far] else None
            routes[name] = Route(labels, kept or Session(self._fars[far], timing))
            routes[name].session.retime(timing)
        self.routes, self.timing, self.digest = routes, timing, digest
        self.labels = {label.number: label for route in routes.values() for label in route.labels}
        self._by_address = {label.far: route for route in routes.values() for label in route.labels}
        self._route_of = {label.number: route for route in routes.values() for label in route.labels}

        numbers = {(label.own, label.far): label.number for label in self.labels.values()}
        for name, circuit in circuits.items():
            known = self.circuits.get(name)
            circuit.used = numbers.get((written[0].get(circuit.local, ""), written[1].get(circuit.remote, "")))
            circuit.renamed = known is not None and (known.renamed or known.send != circuit.send)
            circuit.failovers = known.failovers if known else 0
            for number in {circuit.send, circuit.standby} - {None}:
                self._route_of[number].circuits.append(name)
        self.circuits = circuits
        self.changes += 1
        self._ways, self._choice, self._open = {}, {}, {*circuits}

    def received(self, packet: bytes, source: str, now_s: float) -> bool:
        """A packet came from an address; whether somebody should decide at once."""
        route = self._by_address.get(source)
        hello = wire.unpack(packet) if route else None
        if route is None or hello is None:
            return False
        route.heard_on(source)
        return route.session.heard(hello, now_s)

    def hellos(self, now_s: float) -> Iterator[tuple[Label, bytes]]:
        """The next hello of every route, all of one tick."""
        self._tick += 1
        for route in self.routes.values():
            yield self._hello(route, now_s)

    def urgent(self, now_s: float) -> Iterator[tuple[Label, bytes]]:
        """Hellos of the routes whose other direction has just been found dead: the far end must not wait for a tick."""
        for route in self.routes.values():
            session = route.session
            if now_s >= session.silent_from_s and session.said != wire.LOST and session.unheard(now_s):
                yield self._hello(route, now_s)

    def _hello(self, route: Route, now_s: float) -> tuple[Label, bytes]:
        return route.sends_on(now_s), wire.pack(route.session.hello(self._incarnation, self._tick, now_s))

    def decide(self, now_s: float) -> dict[str, int | None]:
        """The label for every circuit. Chosen anew is only where something else is known of a route than before: of
        many far ends, one or the other is late nearly always on a busy host."""
        for route in self.routes.values():
            session = route.session
            way = WELL if session.well(now_s, behind=1) else harmless(session.way(now_s))
            if way != route.way:
                route.way = way
                self._ways.update((label.number, way) for label in route.labels)
                self._open.update(route.circuits)
                self.changes += 1
        for name in self._open:
            c = self.circuits[name]
            self._choice[name] = choose(c.used, c.send, c.standby, renamed=c.renamed, ways=self._ways)
        self._open.clear()
        return self._choice

    def elements(self, choice: dict[str, int | None]) -> tuple[dict[str, str], dict[str, str]]:
        """What the maps must hold for a choice: local to own address, remote to far address."""
        own, far = {}, {}
        for name, number in choice.items():
            if number is not None:
                circuit, label = self.circuits[name], self.labels[number]
                own[circuit.local], far[circuit.remote] = label.own, label.far
        return own, far

    def settle(self, choice: dict[str, int | None]) -> list[tuple[str, int | None, int | None, bool]]:
        """A choice is in the maps: circuit, label before and now, and whether it failed over, of all that changed."""
        changed = []
        for name, number in choice.items():
            circuit = self.circuits[name]
            if number != circuit.used:
                known = circuit.used is not None and circuit.used in (circuit.send, circuit.standby)
                alone = number != circuit.send if circuit.renamed else known
                circuit.failovers += alone
                changed.append((name, circuit.used, number, alone))
                self._open.add(name)
            circuit.used, circuit.renamed = number, False
        self.changes += bool(changed)
        return changed

    def alive(self) -> list[int]:
        """Numbers of the labels on which hellos passed in both directions at the last decision."""
        return sorted(label.number for route in self.routes.values() if route.way.alive for label in route.labels)

    def lives(self, circuit: str, now_s: float) -> bool:
        """Whether hellos pass on any label that a circuit may send on."""
        named = (self.circuits[circuit].send, self.circuits[circuit].standby)
        return any(self._route_of[number].session.alive(now_s) for number in named if number is not None)

    def look_again_s(self, now_s: float) -> float | None:
        """When to decide again though nothing was heard; None: with the next hellos."""
        soonest = None
        for route in self.routes.values():
            due_s = route.session.silent_from_s
            if due_s <= now_s:
                if now_s - due_s > PROOF_WAIT_S or route.session.unheard(now_s):
                    continue
                due_s = now_s + LOOK_AGAIN_SHARE * self.timing.interval_s
            if soonest is None or due_s < soonest:
                soonest = due_s
        return soonest
