"""The life of labels: whatever the order in which agents apply and acknowledge, no packet is lost and no label is
given away while somebody may still send on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import CircuitSpec, LabelAllocation, LabelState
from foremesh.model.config import GatewayConfig
from foremesh.model.mesh import Member, MeshState, PlacedCircuit
from foremesh.model.registration import Acknowledgement
from foremesh.network.allocate import held
from foremesh.network.compile import compile_configs, diff
from foremesh.network.labels import Applied, Move, advance, advance_all
from network.scene import Controller, full_mesh, gateway
from network.switches import Dropped, Switches

NAMES = ("a", "b", "c", "d", "e")
BLOCKS = Blocks(labels="100.112.0.0/27")
"""Sixteen labels: numbers come round again soon."""

ENDS = (("a", "b", "x", 0), ("a", "b", "y", 1), ("a", "c", "x", 0), ("c", "b", "y", 0))


def circuit(number: int) -> PlacedCircuit:
    from_, to, class_, class_number = ENDS[number]
    spec = CircuitSpec(from_=from_, to=to, class_=class_)
    return PlacedCircuit(id=f"mesh/c{number}", spec=spec, number=number, class_number=class_number)


@dataclass
class World:
    """A controller of labels and agents that apply and acknowledge when a test says so."""

    members: tuple[Member, ...]
    circuits: dict[str, PlacedCircuit] = field(default_factory=lambda: {circuit(n).id: circuit(n) for n in range(4)})
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    told: dict[str, GatewayConfig] = field(default_factory=dict)
    runs: dict[str, GatewayConfig] = field(default_factory=dict)
    heard: dict[str, Acknowledgement] = field(default_factory=dict)
    epoch: int = 0

    @classmethod
    def of(cls, names: tuple[str, ...] = NAMES) -> World:
        controller = Controller.of(*(gateway(name, number=n) for n, name in enumerate(names, 1)))
        bare = tuple(
            Member(id=m.id.removeprefix("mesh/"), resource=m.resource, registration=m.registration, number=m.number)
            for m in controller.members()
        )
        return cls(bare)

    def cycle(self, *, record: bool = True, publish: bool = True) -> None:
        """One planning cycle; the writer may die before it has recorded statuses or published configs."""
        self.epoch += 1
        in_use = held(
            statuses={}, circuits={}, configs=self.told, acknowledgements=self.heard, beacons={}, blocks=BLOCKS
        ).labels
        circuits = advance_all(
            self.circuits.values(),
            self.paths,
            Applied(self.told, self.heard),
            members={member.id for member in self.members},
            epoch=self.epoch,
            in_use=in_use,
            blocks=BLOCKS,
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

    def apply(self, name: str) -> None:
        if name in self.told:
            self.runs[name] = self.told[name]

    def acknowledge(self, name: str) -> None:
        if name in self.runs:
            config = self.runs[name]
            self.heard[name] = Acknowledgement(
                gateway=name, epoch=config.epoch, revision=config.revision, applied=True, labels=config.labels
            )

    def settle(self) -> None:
        for _ in range(8):
            self.cycle()
            for member in self.members:
                self.apply(member.id)
                self.acknowledge(member.id)

    def check(self) -> None:
        numbers = [label.number for circuit in self.circuits.values() for label in circuit.labels]
        assert len(numbers) == len(set(numbers)), "one label number on two paths"
        switches = Switches(self.runs)
        for name, config in self.runs.items():
            for end in config.circuits:
                if end.send_label is None:
                    continue
                switches.carry(name, end)
                listed = {label.number for label in self.circuits[end.circuit].labels}
                assert end.send_label in listed, f"{name} sends on a label that is free"


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, ...]:
    kind = draw(st.sampled_from(("plan", "cycle", "cycle", "apply", "apply", "acknowledge", "acknowledge", "all")))
    if kind != "plan":
        return kind, draw(st.sampled_from(NAMES))
    number = draw(st.integers(0, 3))
    from_, to, *_ = ENDS[number]
    if draw(st.integers(0, 9)) == 0:
        return "withdraw", f"mesh/c{number}"
    between = draw(st.permutations([name for name in NAMES if name not in (from_, to)]))
    return "plan", f"mesh/c{number}", from_, *between[: draw(st.integers(0, 3))], to


def take(world: World, step: tuple[str, ...]) -> None:
    match step:
        case "plan", id_, *path:
            world.paths[id_] = tuple(path)
        case "withdraw", id_:
            world.paths.pop(id_, None)
        case "cycle", _:
            world.cycle()
        case "apply", name:
            world.apply(name)
        case "acknowledge", name:
            world.acknowledge(name)
        case "all", _:
            world.settle()


@settings(deadline=None, max_examples=150)
@given(st.lists(steps(), min_size=10, max_size=80))
def test_no_order_of_events_loses_a_packet(order: list[tuple[str, ...]]) -> None:
    world = World.of()
    for step in order:
        take(world, step)
        world.check()
    world.settle()
    world.check()
    for id_, circuit in world.circuits.items():
        wanted = [(LabelState.ACTIVE, world.paths[id_])] if id_ in world.paths else []
        assert [(label.state, label.path) for label in circuit.labels] == wanted, "settled on what the plan wants"


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(steps(), st.sampled_from(("", "", "unrecorded", "unpublished"))), min_size=10, max_size=60))
def test_writer_that_dies_between_record_and_configs_gives_no_label_away(order: list) -> None:  # type: ignore[type-arg]
    world = World.of()
    for step, fault in order:
        if step[0] == "cycle":
            world.cycle(record=fault != "unrecorded", publish=fault != "unpublished")
        elif step[0] != "all" or not fault:
            take(world, step)
        for name, config in world.runs.items():
            for end in config.circuits:
                if end.send_label is not None:
                    Switches(world.runs).carry(name, end)


def moved() -> World:
    """Circuit 0 in the middle of a move from a-d-b to a-e-b: configs that switch are published, nobody has them."""
    world = World.of()
    world.paths = {"mesh/c0": ("a", "d", "b")}
    world.settle()
    world.paths = {"mesh/c0": ("a", "e", "b")}
    world.cycle()
    for name in "abde":
        world.apply(name)
        world.acknowledge(name)
    world.cycle()
    assert states(world) == {("a", "d", "b"): LabelState.DRAINING, ("a", "e", "b"): LabelState.ACTIVE}
    return world


def states(world: World) -> dict[tuple[str, ...], LabelState]:
    return {label.path: label.state for label in world.circuits["mesh/c0"].labels}


def test_staging_waits_for_every_gateway_of_the_path() -> None:
    for late in "aeb":
        world = World.of()
        world.paths = {"mesh/c0": ("a", "e", "b")}
        world.cycle()
        for name in set("aeb") - {late}:
            world.apply(name)
            world.acknowledge(name)
        world.apply(late)
        world.cycle()
        assert states(world) == {("a", "e", "b"): LabelState.STAGING}
        world.acknowledge(late)
        world.cycle()
        assert states(world) == {("a", "e", "b"): LabelState.ACTIVE}


def test_draining_waits_for_both_ends_and_for_nobody_else() -> None:
    world = moved()
    world.apply("a")
    world.acknowledge("a")
    world.cycle()
    assert ("a", "d", "b") in states(world)
    world.apply("b")
    world.cycle()
    assert ("a", "d", "b") in states(world)
    world.acknowledge("b")
    world.cycle()
    assert states(world) == {("a", "e", "b"): LabelState.ACTIVE}


def test_refused_config_counts_for_nothing() -> None:
    world = moved()
    for name in "ab":
        config = world.told[name]
        world.heard[name] = Acknowledgement(
            gateway=name, epoch=config.epoch, revision=config.revision, applied=False, error="no"
        )
    world.cycle()
    assert ("a", "d", "b") in states(world)


def test_freed_number_is_not_given_to_others_while_a_transit_still_has_it() -> None:
    world = moved()
    old = next(label.number for label in world.circuits["mesh/c0"].labels if label.state is LabelState.DRAINING)
    for name in "ab":
        world.apply(name)
        world.acknowledge(name)
    world.cycle()
    assert old not in {label.number for label in world.circuits["mesh/c0"].labels}
    world.paths["mesh/c1"] = ("a", "b")
    world.cycle()
    (fresh,) = world.circuits["mesh/c1"].labels
    assert fresh.number != old, "d reports the label until it has applied its newest config"
    world.apply("d")
    world.acknowledge("d")
    world.paths["mesh/c2"] = ("a", "c")
    world.cycle()
    assert [label.number for label in world.circuits["mesh/c2"].labels] == [old]


def test_end_that_is_silent_holds_its_label_and_one_that_is_deleted_does_not() -> None:
    world = moved()
    world.apply("a")
    world.acknowledge("a")
    world.paths = {}
    for _ in range(3):
        world.cycle()
        for name in "ade":
            world.apply(name)
            world.acknowledge(name)
    assert set(states(world).values()) == {LabelState.DRAINING}
    world.members = tuple(member for member in world.members if member.id != "b")
    for _ in range(2):
        world.cycle()
        assert set(states(world).values()) == {LabelState.DRAINING}, "d and e have not yet cut it off"
    for name in "ade":
        world.apply(name)
        world.acknowledge(name)
    world.cycle()
    assert states(world) == {}


def test_plan_that_changes_its_mind_frees_the_staging_label_and_keeps_the_active_one() -> None:
    world = World.of()
    world.paths = {"mesh/c0": ("a", "d", "b")}
    world.settle()
    world.paths = {"mesh/c0": ("a", "e", "b")}
    world.cycle()
    assert states(world) == {("a", "d", "b"): LabelState.ACTIVE, ("a", "e", "b"): LabelState.STAGING}
    world.paths = {"mesh/c0": ("a", "d", "b")}
    world.cycle()
    assert states(world) == {("a", "d", "b"): LabelState.ACTIVE}


def test_exhausted_block_leaves_circuits_where_they_are() -> None:
    one = PlacedCircuit(
        id="mesh/c0",
        spec=circuit(0).spec,
        number=0,
        class_number=0,
        labels=(LabelAllocation(number=3, state=LabelState.ACTIVE, path=("a", "b"), epoch=1),),
    )
    moved_on = advance(one, Move(("a", "c", "b"), Applied(), frozenset("abc"), 2), BLOCKS, free=None)
    assert moved_on == one.labels


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(("a", "c"), id="ends-elsewhere"),
        pytest.param(("a", "d", "c", "d", "b"), id="passes-a-gateway-twice"),
        pytest.param((), id="empty"),
    ],
)
def test_path_that_is_none_is_refused(path: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no path between its ends"):
        advance(circuit(0), Move(path, Applied(), frozenset(NAMES), 1), BLOCKS, free=1)


def test_label_forgotten_by_a_transit_would_be_noticed() -> None:
    """The walk that the properties rest on does fail when it should."""
    world = World.of()
    world.paths = {"mesh/c0": ("a", "d", "b")}
    world.settle()
    del world.runs["d"]
    with pytest.raises(Dropped):
        world.check()
