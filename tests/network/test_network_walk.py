"""Configs, walked: a packet goes where the plan says, both ways, and nowhere else."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foremesh.agent.desired import check
from foremesh.model.addresses import Blocks
from foremesh.model.config import GatewayConfig
from foremesh.model.intent import Profile, Requirements, Traffic
from foremesh.model.resource import Protocol
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.network.compile import compile_configs
from network.scene import HTTPS, Controller, gateway, intent, placed, workload
from network.switches import Dropped, Packet, Switches

LATENCY = {"profile": Profile.LATENCY, "requirements": Requirements(max_latency=Milliseconds(40))}


def five_gateways() -> Controller:
    """Sites a and b with two workloads each, c with one; t and u only relay."""
    return Controller.of(
        *(gateway(name, number=n) for n, name in enumerate(("a", "b", "c", "t", "u"), 1)),
        *(workload(name, name[0]) for name in ("a1", "a2", "b1", "b2", "c1")),
    )


def walk(controller: Controller, source: str, destination: str, **packet: object) -> tuple[str, str]:
    """Send there and back; the path as names, and the circuit. Both ways must be the same."""
    addresses = {key: status.mesh_address for key, status in controller.statuses.items()}
    there = Packet(addresses[f"shop/{source}"], addresses[f"shop/{destination}"], **packet)  # type: ignore[arg-type]
    switches = Switches(controller.configs)
    forth = switches.send(f"shop/{source}", there)
    back = switches.send(f"shop/{destination}", there.answer)
    assert forth.arrived == f"shop/{destination}"
    assert back.arrived == f"shop/{source}"
    assert back.gateways == forth.gateways[::-1]
    assert back.circuit == forth.circuit
    return " ".join(name.rpartition("/")[2] for name in forth.gateways), forth.circuit


def test_circuits_share_links_and_classes_and_each_keeps_its_path() -> None:
    controller = five_gateways()
    web, logs, fast, back = intent("web", traffic=(HTTPS,)), intent("logs"), intent("fast", **LATENCY), intent("back")
    controller.wish(
        [
            (web, placed(web, "a1", "b1", "a", "t", "b")),
            (web, placed(web, "a2", "b1", "a", "t", "b")),
            (logs, placed(logs, "a1", "c1", "a", "t", "u", "c")),
            (fast, placed(fast, "a2", "b2", "a", "u", "b")),
            (back, placed(back, "b2", "a1", "b", "u", "t", "a")),
        ]
    )
    controller.settle()
    assert walk(controller, "a1", "b1")[0] == "a t b"
    assert walk(controller, "a2", "b1")[0] == "a t b"
    assert walk(controller, "a1", "c1", dport=514, protocol=Protocol.UDP)[0] == "a t u c"
    assert walk(controller, "a2", "b2", dport=8080)[0] == "a u b"
    assert walk(controller, "b2", "a1", dport=22)[0] == "b u t a"
    assert walk(controller, "a1", "b1")[1] == walk(controller, "a2", "b1")[1]
    numbers = {circuit.id: circuit.class_number for circuit in controller.placed.circuits}
    by_path = {circuit.labels[0].path: circuit.id for circuit in controller.placed.circuits}
    same_class = (by_path["mesh/a", "mesh/t", "mesh/b"], by_path["mesh/a", "mesh/t", "mesh/u", "mesh/c"])
    assert numbers[same_class[0]] == numbers[same_class[1]], "one class, different far ends: one interface"
    assert len(set(numbers.values())) == 3


@pytest.mark.parametrize(
    ("source", "destination", "packet"),
    [
        pytest.param("a1", "b1", {"dport": 80}, id="port-that-no-intent-names"),
        pytest.param("a1", "b1", {"protocol": Protocol.UDP}, id="protocol-that-no-intent-names"),
        pytest.param("a2", "b1", {}, id="source-that-no-intent-names"),
        pytest.param("a1", "b2", {}, id="destination-that-no-intent-names"),
        pytest.param("b1", "a1", {}, id="conversation-opened-by-the-destination"),
        pytest.param("b1", "a1", {"sport": 443, "dport": 22}, id="answer-to-nothing"),
        pytest.param("a1", "a2", {}, id="neighbours-without-an-intent"),
    ],
)
def test_what_no_intent_names_is_dropped(source: str, destination: str, packet: dict[str, object]) -> None:
    controller = five_gateways()
    web = intent("web", traffic=(HTTPS,))
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b"))])
    controller.settle()
    assert walk(controller, "a1", "b1")[0] == "a t b"
    with pytest.raises(Dropped):
        walk(controller, source, destination, **packet)


def test_far_end_holds_to_the_firewall_even_if_the_near_end_does_not() -> None:
    controller = five_gateways()
    everything, web = intent("everything"), intent("web", traffic=(HTTPS,))
    controller.wish([(everything, placed(everything, "a1", "b1", "a", "b"))])
    loose = dict(controller.settle())
    controller.wish([(web, placed(web, "a1", "b1", "a", "b"))])
    strict = dict(controller.settle())
    addresses = {key: status.mesh_address for key, status in controller.statuses.items()}
    packet = Packet(addresses["shop/a1"], addresses["shop/b1"], dport=80)
    assert Switches(loose).send("shop/a1", packet).arrived == "shop/b1"
    with pytest.raises(Dropped) as dropped:
        Switches(loose | {"mesh/b": strict["mesh/b"]}).send("shop/a1", packet)
    assert dropped.value.at == "mesh/b"


@pytest.mark.parametrize(("class_of_all", "class_of_web"), [({}, LATENCY), (LATENCY, {})])
def test_named_ports_go_their_own_way_before_everything_else(class_of_all: dict, class_of_web: dict) -> None:  # type: ignore[type-arg]
    controller = five_gateways()
    everything = intent("everything", **class_of_all)
    web = intent("web", traffic=(HTTPS,), **class_of_web)
    controller.wish(
        [
            (everything, placed(everything, "a1", "b1", "a", "t", "b")),
            (web, placed(web, "a1", "b1", "a", "u", "b")),
        ]
    )
    controller.settle()
    assert walk(controller, "a1", "b1", dport=443)[0] == "a u b"
    assert walk(controller, "a1", "b1", dport=22)[0] == "a t b"
    assert walk(controller, "a1", "b1", protocol=Protocol.ICMP, sport=0, dport=0)[0] == "a t b"


def test_workloads_of_one_gateway_meet_there_without_a_circuit() -> None:
    controller = five_gateways()
    near = intent("near", traffic=(HTTPS,))
    controller.wish([(near, placed(near, "a1", "a2", "a"))])
    controller.settle()
    assert controller.placed.circuits == ()
    assert walk(controller, "a1", "a2") == ("a", "")
    with pytest.raises(Dropped):
        walk(controller, "a1", "a2", dport=80)
    with pytest.raises(Dropped):
        walk(controller, "a2", "a1")


def test_workload_with_two_gateways_is_reached_through_either() -> None:
    controller = Controller.of(
        gateway("a", number=1), gateway("b", "west", number=2), gateway("c", "west", number=3), gateway("d", number=4),
        workload("a1", "a"), workload("a2", "a"), workload("d1", "d"), workload("w", "west"),
    )  # fmt: skip
    one = intent("one")
    controller.wish(
        [
            (one, placed(one, "a1", "w", "a", "b")),
            (one, placed(one, "a2", "w", "a", "c")),
            (one, placed(one, "d1", "w", "d", "a", "c")),
        ]
    )
    controller.settle()
    assert walk(controller, "a1", "w")[0] == "a b"
    assert walk(controller, "a2", "w")[0] == "a c"
    assert walk(controller, "d1", "w")[0] == "d a c"


def test_config_is_left_alone_by_a_change_elsewhere() -> None:
    controller = five_gateways()
    web, logs = intent("web"), intent("logs")
    first = (web, placed(web, "a1", "b1", "a", "b"))
    controller.wish([first])
    before = dict(controller.settle())
    controller.wish([first, (logs, placed(logs, "a1", "c1", "a", "u", "c"))])
    after = controller.settle()
    # a1 is told a name more.
    assert {key for key in after if after[key] is not before[key]} == {"mesh/a", "mesh/u", "mesh/c", "shop/a1"}


def test_link_that_is_lost_from_sight_stays_while_a_label_runs_over_it() -> None:
    controller = five_gateways()
    web = intent("web")
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b"))])
    before = controller.settle()
    unseen = compile_configs(msgspec.structs.replace(controller.state, links=()))
    labels = {peer.gateway: (peer.underlay, peer.labels) for peer in unseen["mesh/t"].hop_peers}
    assert labels == {peer.gateway: (peer.underlay, peer.labels) for peer in before["mesh/t"].hop_peers if peer.labels}
    controller.configs = unseen
    assert walk(controller, "a1", "b1")[0] == "a t b"


def test_agent_that_has_not_registered_is_left_out_until_it_has() -> None:
    controller = five_gateways()
    web = intent("web")
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b"))])
    late = controller.registrations.pop("mesh/t")
    controller.settle()
    assert "mesh/t" not in controller.configs
    assert all(peer.gateway != "mesh/t" for peer in controller.configs["mesh/a"].hop_peers)
    with pytest.raises(Dropped):
        walk(controller, "a1", "b1")
    controller.registrations["mesh/t"] = late
    controller.settle()
    assert walk(controller, "a1", "b1")[0] == "a t b"


def test_nothing_is_laid_over_a_gateway_that_has_not_told_what_it_runs() -> None:
    """The store was lost: the record of a circuit, too, and with it which numbers an agent may still send on."""
    controller = five_gateways()
    web = intent("web")
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b", standby=("a", "u", "b")))])
    late = controller.beacons.pop("mesh/t")
    controller.cycle()
    assert [label.path for label in controller.placed.circuits[0].labels] == [("mesh/a", "mesh/u", "mesh/b")]
    controller.configs, controller.circuits = {}, {}
    controller.beacons["mesh/t"] = msgspec.structs.replace(late, labels=(0, 1))
    controller.cycle()
    assert [label.number for label in controller.placed.circuits[0].labels] == [2, 3], "it has 0 and 1"


def test_pinned_path_stands_against_the_plan_if_it_joins_the_ends() -> None:
    controller = five_gateways()
    web = intent("web")
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b"))])
    controller.settle()
    (id_,) = controller.circuits
    for pin, path in (("mesh/a", "mesh/u", "mesh/b"), "a u b"), (("mesh/a", "mesh/u", "mesh/c"), "a t b"):
        circuit = controller.circuits[id_]
        pinned = type(circuit.spec)(
            **{f: getattr(circuit.spec, f) for f in circuit.spec.__struct_fields__} | {"path": pin}
        )
        controller.circuits[id_] = type(circuit)(meta=circuit.meta, spec=pinned, status=circuit.status)
        controller.settle()
        assert walk(controller, "a1", "b1")[0] == path


@pytest.mark.parametrize("order", list(itertools.permutations("abtu", 4))[::5])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param({}, LATENCY, id="other-requirements"),
        pytest.param({"traffic": (HTTPS,)}, LATENCY, id="wider-traffic"),
        pytest.param({}, LATENCY | {"traffic": (HTTPS,)}, id="narrower-traffic"),
    ],
)
def test_pair_that_changes_circuits_never_loses_a_packet(order: tuple[str, ...], old: dict, new: dict) -> None:  # type: ignore[type-arg]
    controller = five_gateways()
    before = intent("web", **old)
    controller.wish([(before, placed(before, "a1", "b1", "a", "t", "b"))])
    runs = dict(controller.settle())
    (old_circuit,) = controller.circuits
    after = intent("web", **new)
    controller.wish([(after, placed(after, "a1", "b1", "a", "u", "b"))])
    circuits = set()
    for _ in range(6):
        controller.cycle()
        for name in order:
            runs[f"mesh/{name}"] = controller.configs[f"mesh/{name}"]
            check(runs[f"mesh/{name}"])
            circuits.add(there_and_back(controller, runs))
            controller.acknowledge(f"mesh/{name}")
    assert old_circuit not in controller.circuits
    assert circuits == {old_circuit, *controller.circuits}
    assert walk(controller, "a1", "b1")[0] == "a u b"


def there_and_back(controller: Controller, runs: dict[str, GatewayConfig]) -> str:
    """Exchange packets between a1 and b1 while ends may be using different circuits; the one used there."""
    packet = Packet(*(controller.statuses[f"shop/{name}"].mesh_address for name in ("a1", "b1")))
    switches = Switches(runs)
    forth = switches.send("shop/a1", packet)
    assert forth.arrived == "shop/b1"
    assert switches.send("shop/b1", packet.answer).arrived == "shop/a1"
    return forth.circuit


def test_pair_whose_far_gateway_changes_within_a_class_moves_at_once() -> None:
    controller = five_gateways()
    web = intent("web")
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b"))])
    controller.settle()
    controller.resources["shop/b1"] = workload("b1", "c")
    controller.wish([(web, placed(web, "a1", "b1", "a", "u", "c"))])
    controller.cycle()
    for config in controller.configs.values():
        check(config)
    controller.settle()
    assert walk(controller, "a1", "b1")[0] == "a u c"


def test_withdrawn_intent_closes_its_circuit_at_once() -> None:
    controller = five_gateways()
    web = intent("web")
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b"))])
    controller.settle()
    controller.wish([])
    controller.cycle()
    (ending,) = controller.placed.circuits
    assert ending.pairs == ()
    assert ending.spec.firewall == ()
    with pytest.raises(Dropped):
        walk(controller, "a1", "b1")
    controller.settle()
    assert controller.placed.circuits == ()
    assert all(config.circuits == config.transits == () for config in controller.configs.values())


def test_circuit_without_a_number_left_is_named_and_disturbs_nobody() -> None:
    controller = five_gateways()
    controller.blocks = Blocks(circuits="100.96.0.0/31")
    web, fast = intent("web"), intent("fast", **LATENCY)
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b"))])
    controller.settle()
    controller.wish([(web, placed(web, "a1", "b1", "a", "t", "b")), (fast, placed(fast, "a2", "c1", "a", "u", "c"))])
    controller.settle()
    assert controller.placed.exhausted == (controller.desired.carriers["shop/fast", "shop/a2"],)
    assert walk(controller, "a1", "b1")[0] == "a t b"


GATEWAYS = ("a", "b", "c", "d", "e")
WORKLOADS = ("a1", "a2", "b1", "b2", "c1", "d1")
PAIRS = list(itertools.permutations(WORKLOADS, 2))


@st.composite
def wishes(draw: st.DrawFn) -> list[tuple[str, str, tuple[str, ...], int, int]]:
    """Pairs with a path, a port and a class each; one port for a pair, so that steering is not ambiguous."""
    chosen = draw(st.lists(st.sampled_from(PAIRS), min_size=1, max_size=8, unique=True))
    result = []
    for number, (source, destination) in enumerate(chosen):
        from_, to = source[0], destination[0]
        between = draw(st.permutations([g for g in GATEWAYS if g not in (from_, to)]))
        path = (from_, *between[: draw(st.integers(0, 3))], to) if from_ != to else (from_,)
        result.append((source, destination, path, 1000 + number, draw(st.integers(1, 3))))
    return result


@settings(max_examples=60)
@given(wishes(), wishes())
def test_every_wish_is_carried_and_nothing_else_is(first: list, second: list) -> None:  # type: ignore[type-arg]
    controller = Controller.of(
        *(gateway(name, number=n) for n, name in enumerate(GATEWAYS, 1)),
        *(workload(name, name[0]) for name in WORKLOADS),
    )
    for round_ in (first, second):
        controller.wish(
            (one, placed(one, source, destination, *path))
            for source, destination, path, port, class_ in round_
            for one in [
                intent(
                    f"i{port}",
                    traffic=(Traffic(ports=(port,)),),
                    requirements=Requirements(max_hops=9 + class_, min_bandwidth=Bandwidth(1e6)),
                )
            ]
        )
        configs = controller.settle()
        for config in configs.values():
            check(config)
        paths = {circuit.id: circuit.path.gateways for circuit in controller.desired.circuits}
        for source, destination, path, port, _ in round_:
            walked, circuit = walk(controller, source, destination, dport=port)
            assert walked == (" ".join(n.removeprefix("mesh/") for n in paths[circuit]) if circuit else path[0])
            with pytest.raises(Dropped):
                walk(controller, source, destination, dport=999)
        wanted = {(source, destination) for source, destination, *_ in round_}
        for source, destination in set(PAIRS) - wanted:
            with pytest.raises(Dropped):
                walk(controller, source, destination, dport=1000)
