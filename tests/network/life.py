"""A controller of labels, and agents that apply, acknowledge, fall over and report when a test says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import CircuitSpec, LabelAllocation, LabelState, Route
from foremesh.model.config import CircuitEnd, GatewayConfig
from foremesh.model.mesh import Member, MeshState, PlacedCircuit
from foremesh.model.registration import Acknowledgement, Beacon
from foremesh.network.allocate import held
from foremesh.network.compile import compile_configs, diff
from foremesh.network.labels import Wanted, advance_all
from foremesh.network.programmed import DRAIN_S, Applied
from network.scene import Controller, full_mesh, gateway
from network.switches import Dropped, Switches

NAMES = ("a", "b", "c", "d", "e")
BLOCKS = Blocks(labels="100.112.0.0/26")
"""Thirty-two labels: numbers come round again soon."""

ENDS = (("a", "b", "x", 0), ("a", "b", "y", 1), ("a", "c", "x", 0), ("c", "b", "y", 0))
C0 = "mesh/c0"


def circuit(number: int) -> PlacedCircuit:
    from_, to, class_, class_number = ENDS[number]
    spec = CircuitSpec(from_=from_, to=to, class_=class_)
    return PlacedCircuit(id=f"mesh/c{number}", spec=spec, number=number, class_number=class_number)


def wanted(active: str, standby: str = "") -> Wanted:
    """Paths by the letters of their gateways."""
    return Wanted(Route(gateways=tuple(active)), Route(gateways=tuple(standby)) if standby else None)


@dataclass
class World:
    """Everything happens when a test says so: nothing is applied, acknowledged or reported by itself."""

    members: tuple[Member, ...]
    circuits: dict[str, PlacedCircuit] = field(default_factory=lambda: {circuit(n).id: circuit(n) for n in range(4)})
    wishes: dict[str, Wanted] = field(default_factory=dict)
    planned: int = 0
    """The epoch in which the wishes were made."""
    told: dict[str, GatewayConfig] = field(default_factory=dict)
    runs: dict[str, GatewayConfig] = field(default_factory=dict)
    uses: dict[tuple[str, str], int] = field(default_factory=dict)
    """End and circuit to the label that the end sends on."""
    heard: dict[str, Acknowledgement] = field(default_factory=dict)
    beacons: dict[str, Beacon] = field(default_factory=dict)
    cut: set[frozenset[str]] = field(default_factory=set)
    """Links that nothing passes."""
    epoch: int = 0
    now_s: float = 0.0

    @classmethod
    def of(cls, names: tuple[str, ...] = NAMES) -> World:
        controller = Controller.of(*(gateway(name, number=n) for n, name in enumerate(names, 1)))
        bare = tuple(
            Member(id=m.id.removeprefix("mesh/"), resource=m.resource, registration=m.registration, number=m.number)
            for m in controller.members()
        )
        return cls(bare, beacons={name: Beacon() for name in names})

    def wish(self, id_: str, wish: Wanted | None) -> None:
        """A new plan, for this circuit and all others."""
        self.planned = self.epoch + 1
        if wish is None:
            self.wishes.pop(id_, None)
        else:
            self.wishes[id_] = wish

    def cycle(self, *, record: bool = True, publish: bool = True, seconds: float = DRAIN_S) -> None:
        """One step of the controller; the writer may die before it has recorded statuses or published configs."""
        self.now_s += seconds
        self.epoch = max(int(self.now_s), self.epoch + 1)
        in_use = held(
            statuses={},
            circuits={},
            configs=self.told,
            acknowledgements=self.heard,
            beacons=self.beacons,
            blocks=BLOCKS,
        ).labels
        circuits = advance_all(
            self.circuits.values(),
            self.wishes,
            Applied(self.told, self.heard, self.beacons),
            members={member.id for member in self.members},
            epoch=self.epoch,
            now_s=self.now_s,
            in_use=in_use,
            blocks=BLOCKS,
            planned=self.planned,
        )
        state = MeshState(
            epoch=self.epoch,
            blocks=BLOCKS,
            members=self.members,
            links=full_mesh([member.id for member in self.members]),
            circuits=circuits,
        )
        if record:
            self.circuits = {circuit.id: circuit for circuit in circuits}
        if publish:
            self.told = dict(diff(self.told, compile_configs(state)).configs)

    # What agents do

    def apply(self, name: str) -> None:
        """It runs what it was told, and goes on sending as it did where that is still allowed."""
        if name not in self.told:
            return
        self.runs[name] = self.told[name]
        for end in self.runs[name].circuits:
            if self.uses.get((name, end.circuit)) not in choices(end):
                self.use(name, end, end.send_label)

    def acknowledge(self, name: str) -> None:
        if name in self.runs:
            config = self.runs[name]
            self.heard[name] = Acknowledgement(
                gateway=name, epoch=config.epoch, revision=config.revision, applied=True, labels=config.labels
            )

    def switch(self, name: str) -> None:
        """It falls over, or back, with every circuit that has two labels."""
        for end in self.runs[name].circuits if name in self.runs else ():
            other = [number for number in choices(end) if number != self.uses.get((name, end.circuit))]
            self.use(name, end, other[0] if other else end.send_label)

    def use(self, name: str, end: CircuitEnd, number: int | None) -> None:
        if number is None:
            self.uses.pop((name, end.circuit), None)
        else:
            self.uses[name, end.circuit] = number

    def report(self, name: str) -> None:
        """It tells what it runs, sends on and hears."""
        config = self.runs.get(name)
        if config is None:
            self.beacons[name] = Beacon(watching=True)
            return
        self.beacons[name] = Beacon(
            applied_epoch=config.epoch,
            applied_revision=config.revision,
            labels=config.labels,
            watching=True,
            sending={id_: number for (end, id_), number in self.uses.items() if end == name},
            heard=tuple(
                sorted(
                    label.number for end in config.circuits for label in end.labels if self.passes(end, label.number)
                )
            ),
        )

    def fall_silent(self, name: str) -> None:
        self.beacons.pop(name, None)

    def obey(self, *names: str) -> None:
        """These apply, acknowledge and report."""
        for name in names:
            self.apply(name)
            self.acknowledge(name)
        for name in names:
            self.report(name)

    def settle(self) -> None:
        """All goes well for long enough, with plans that keep coming."""
        self.cut = set()
        names = [member.id for member in self.members]
        for _ in range(8):
            self.planned = self.epoch + 1
            self.cycle(seconds=60.0)
            self.obey(*names)
            for name in names:
                for end in self.runs[name].circuits:
                    self.use(name, end, end.send_label)
                self.report(name)

    # What is true

    def passes(self, end: CircuitEnd, number: int) -> bool:
        """Whether hellos pass on a label, both ways."""
        label = end.label(number)
        assert label is not None
        switches = Switches(self.runs)
        name = next(name for name, config in self.runs.items() if end in config.circuits)
        try:
            path = switches.carry(name, end, number)
            back = next(one for one in self.runs[path[-1]].circuits if one.circuit == end.circuit)
            switches.carry(path[-1], back, number)
        except Dropped:
            return False
        return not any(frozenset(hop) in self.cut for hop in pairwise(path))

    def check(self) -> None:
        """Whatever an end may send on arrives, and is nobody else's."""
        numbers = [label.number for circuit in self.circuits.values() for label in circuit.labels]
        assert len(numbers) == len(set(numbers)), "one label number on two paths"
        self.check_sending(listed=True)

    def check_sending(self, *, listed: bool = False) -> None:
        switches = Switches(self.runs)
        for name, config in self.runs.items():
            for end in config.circuits:
                for number in choices(end):
                    switches.carry(name, end, number)
                    known = {label.number for label in self.circuits[end.circuit].labels}
                    assert not listed or number in known, f"{name} may send on a label that is free"

    def states(self, id_: str = C0) -> dict[str, LabelState]:
        """Paths by letters, and the states of their labels; one that has two labels has the later one's."""
        return {"".join(label.path): label.state for label in self.circuits[id_].labels}

    def label(self, path: str, id_: str = C0) -> LabelAllocation:
        (label,) = [label for label in self.circuits[id_].labels if "".join(label.path) == path]
        return label


def choices(end: CircuitEnd) -> list[int]:
    """The labels that an end may send on."""
    return [number for number in (end.send_label, end.standby_label) if number is not None]
