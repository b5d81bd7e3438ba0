"""Three gateways whose keys are replaced, each doing what it does when a test says so."""

from __future__ import annotations

import dataclasses
from copy import copy
from dataclasses import dataclass, field
from functools import cache

import msgspec

from foremesh.agent.desired import check
from foremesh.agent.rotation import Rotation as AgentsRotation
from foremesh.decide import as_told
from foremesh.model.circuit import Tunnel
from foremesh.model.config import CircuitEnd, GatewayConfig
from foremesh.model.intent import Encryption
from foremesh.model.registration import Beacon, CircuitKey
from foremesh.network.allocate import enrol
from foremesh.network.tunnels import Rotation
from network.scene import Controller, gateway, intent, placed, workload

NAMES = ("a", "b", "c")
IDS = tuple(f"mesh/{name}" for name in NAMES)
SOON = Rotation(period_s=50.0)
"""Circuits are spread over five seconds, and a key is as good as for ever while a test looks at one replacement."""


@dataclass
class _Public:
    public: str


@dataclass
class _Kept:
    key: _Public
    made_s: float
    slot: int = 0


@dataclass
class FakeKeys:
    """An agent's keys without secrets; see ``agent.keys.Keys``."""

    name: str
    circuits: tuple[_Kept, ...]
    hops: tuple[_Kept, ...] = (_Kept(_Public("hop"), 0.0),)
    made: int = 0

    @classmethod
    def of(cls, name: str) -> FakeKeys:
        keys = cls(name, ())
        keys.make_circuit(0.0)
        return keys

    def make_circuit(self, made_s: float) -> _Kept:
        self.made += 1
        kept = _Kept(_Public(f"{self.name}{self.made:07}:circuit"), made_s)
        self.circuits = (kept, *self.circuits)
        return kept

    def drop(self, public: str) -> None:
        self.circuits = tuple(one for one in self.circuits if one.key.public != public)

    @property
    def held(self) -> list[str]:
        return [one.key.public for one in self.circuits]

    @property
    def wire(self) -> tuple[CircuitKey, ...]:
        return tuple(CircuitKey(key=one.key.public, made_s=int(one.made_s)) for one in self.circuits)

    def used(self, own_key: str) -> str:
        """The key that an interface has that is to have this one."""
        return own_key if own_key in self.held else self.held[0]


@dataclass
class Rotating(Controller):
    """A controller and its agents, of whom each does what it does when a test says so."""

    keys: dict[str, FakeKeys] = field(default_factory=lambda: {id_: FakeKeys.of(id_[-1]) for id_ in IDS})
    runs: dict[str, GatewayConfig] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    strict: bool = False
    """Whoever applies anything, nobody sends what is not taken: not while circuits come and go, or keys are lost."""

    def members(self):  # type: ignore[no-untyped-def]
        present = frozenset(self.resources) - self.silent
        return enrol(self.resources, self.registrations, present, self.held(), self.blocks)

    def plan(self, *, record: bool = True, publish: bool = True, seconds: float = 1.0) -> None:
        """One cycle, whose writer may die before it has recorded statuses or published configs."""
        self.now_s += seconds
        circuits, configs = self.circuits, self.configs
        self.cycle()
        for id_, config in self.configs.items():
            check(config)
            assert id_ in self.silent or config.circuit_keys_since in (0, self.rotation.since_s(self.now_s))
        if not record:
            self.circuits = circuits
        if not publish:
            self.configs = configs

    def apply(self, id_: str) -> None:
        self.runs[id_] = self.configs[id_]
        if self.strict:
            self.check_sending()

    def say(self, id_: str) -> None:
        """It acknowledges and reports what it runs."""
        if id_ in self.runs and id_ not in self.silent:
            config = self.runs[id_]
            told = self.configs[id_]
            self.configs[id_] = config
            self.acknowledge(id_)
            self.configs[id_] = told

    def turn_keys(self, id_: str) -> None:
        AgentsRotation(self.keys[id_], 0.0).step(self.runs.get(id_), now_s=self.now_s)  # type: ignore[arg-type]

    def register(self, id_: str) -> None:
        before = self.registrations[id_]
        keys = msgspec.structs.replace(before.keys, circuit=self.keys[id_].held[-1])
        self.registrations[id_] = msgspec.structs.replace(before, keys=keys, circuits=self.keys[id_].wire)

    def fall_silent(self, id_: str) -> None:
        self.silent.add(id_)
        self.beacons.pop(id_, None)

    def speak(self, id_: str) -> None:
        self.silent.discard(id_)
        self.beacons[id_] = as_told(Beacon(), self.runs[id_]) if id_ in self.runs else Beacon()

    def everything(self, *ids: str) -> None:
        for id_ in ids or IDS:
            self.apply(id_)
            self.say(id_)
            self.turn_keys(id_)
            self.register(id_)

    def others(self) -> None:
        """Workloads do as they are told."""
        self.acknowledge(*(id_ for id_ in self.configs if id_ not in IDS))

    def ends(self) -> list[tuple[str, CircuitEnd]]:
        return [(id_, end) for id_, config in self.runs.items() for end in config.circuits]

    def check_sending(self) -> None:
        """Whatever an end sends, the other one takes, by the key that it is sent by and the one that it is for."""
        for id_, end in self.ends():
            if end.encryption is Encryption.HOP_BY_HOP:
                continue
            assert end.own_key in self.keys[id_].held, "a key that an interface has was destroyed"
            far = self.runs[end.remote_gateway]
            (other,) = [one for one in far.circuits if one.circuit == end.circuit]
            keys = self.keys[end.remote_gateway]
            taken = {(one.slot, keys.used(one.own_key), one.public_key) for one in other.tunnels}
            assert (end.slot, end.public_key, self.keys[id_].used(end.own_key)) in taken

    def interfaces(self, id_: str) -> set[tuple[int, int, str]]:
        """Class, slot and key of every inner interface."""
        return {(e.class_number, t.slot, t.own_key) for e in self.runs[id_].circuits for t in e.tunnels}

    def tunnels(self) -> dict[str, tuple[Tunnel, ...]]:
        return {circuit.id: circuit.tunnels for circuit in self.placed.circuits}


def running(rotation: Rotation = SOON) -> Rotating:
    """Three gateways, each two of which talk, all by one class; it is the moment before keys are to be replaced."""
    mesh = _set_up()
    fields = {one.name: copy(getattr(mesh, one.name)) for one in dataclasses.fields(mesh)}
    keys = {id_: copy(one) for id_, one in mesh.keys.items()}
    return Rotating(**{**fields, "keys": keys, "rotation": rotation, "strict": True})


@cache
def _set_up() -> Rotating:
    resources = [gateway(name, number=n) for n, name in enumerate(NAMES, 1)]
    mesh = Rotating.of(*resources, *(workload(f"{name}1", name) for name in NAMES), rotation=SOON)
    assert isinstance(mesh, Rotating)
    pairs = (("a", "b"), ("a", "c"), ("c", "b"))
    mesh.wish([(intent(f"{x}{y}"), placed(intent(f"{x}{y}"), f"{x}1", f"{y}1", x, y)) for x, y in pairs])
    mesh.now_s = 1.0
    for id_ in IDS:
        mesh.register(id_)
    for _ in range(6):
        mesh.plan()
        mesh.others()
        mesh.everything()
    mesh.check_sending()
    mesh.now_s = 49.0
    return mesh


def settle(mesh: Rotating) -> None:
    """All goes well for long enough."""
    for id_ in IDS:
        mesh.speak(id_)
    quiet = 0
    for _ in range(30):
        before = dict(mesh.configs)
        mesh.plan(seconds=3.0)
        mesh.others()
        mesh.everything()
        mesh.check_sending()
        quiet = quiet + 1 if mesh.configs == before else 0
        if quiet == 3:
            return
    raise AssertionError("configs still change")
