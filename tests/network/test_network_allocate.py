"""Allocation: one number each, kept while recorded, never somebody else's, the same for the same input."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.agent.state import MAX_CLASS
from foremesh.model.addresses import Blocks
from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus, LabelAllocation, LabelState
from foremesh.model.meta import Meta
from foremesh.model.registration import Beacon
from foremesh.model.status import ResourceStatus
from foremesh.network.allocate import (
    CLASS_NUMBERS,
    CLASSES,
    ClassUser,
    Held,
    assign,
    class_numbers,
    held,
    workload_addresses,
)
from foremesh.network.attachment import attach
from network.scene import Controller, gateway, intent, placed, workload

IDS = st.sampled_from("abcdefgh")
NUMBERS = st.dictionaries(IDS, st.integers(-1, 12), max_size=8)


@given(st.sets(IDS), NUMBERS)
def test_numbers_are_unique_kept_and_nobody_elses(wanted: set[str], recorded: dict[str, int]) -> None:
    result = assign(wanted, recorded, limit=10)
    assert len(set(result.values())) == len(result)
    assert all(0 <= number < 10 for number in result.values())
    others = {number for key, number in recorded.items() if key not in wanted}
    for key in wanted:
        valid = key in recorded and 0 <= recorded[key] < 10
        if valid and min(k for k in wanted if recorded.get(k) == recorded[key]) == key:
            assert result[key] == recorded[key]
        elif key in result:
            assert result[key] not in others
    assert assign(wanted, recorded | result, limit=10) == result


def test_number_is_missing_where_nothing_is_left() -> None:
    assert assign("abc", {"x": 0}, limit=3) == {"a": 1, "b": 2}


@given(st.dictionaries(IDS, st.integers(0, 3)), st.dictionaries(IDS, st.integers(0, 9)))
def test_addresses_lie_in_the_first_gateways_prefix_unless_recorded(
    first: dict[str, int], recorded: dict[str, int]
) -> None:
    blocks = Blocks()
    on_record = {key: f"100.64.{index % 4}.{2 + index}" for key, index in recorded.items()}
    result = workload_addresses(first, on_record, blocks)
    assert result.keys() == first.keys()
    assert len(set(result.values())) == len(result)
    foreign = {address for key, address in on_record.items() if key not in first}
    for key, address in result.items():
        rivals = [k for k in first if on_record.get(k) == on_record.get(key)]
        if key in on_record and min(rivals) == key:
            assert address == on_record[key]
        else:
            assert IPv4Address(address) in IPv4Network(blocks.gateway_prefix(first[key]))
            assert address not in foreign
    assert workload_addresses(first, on_record | result, blocks) == result


def test_prefix_holds_253_workloads() -> None:
    names = {f"w{number:03}": 0 for number in range(260)}
    result = workload_addresses(names, {}, Blocks())
    assert len(result) == 253
    assert not {"100.64.0.0", "100.64.0.1", "100.64.0.255"} & set(result.values())


GATEWAYS = "abcd"
USERS = st.lists(
    st.builds(
        lambda ends, class_, vxlan: ClassUser(f"{ends[0]}-{ends[1]}-{class_}", ends[0], ends[1], class_, vxlan),
        st.permutations(GATEWAYS),
        st.sampled_from("xyz"),
        st.booleans(),
    ),
    max_size=20,
    unique_by=lambda user: user.id,
)


@given(USERS, st.dictionaries(st.sampled_from(["a-b-x", "a-b-y", "b-a-x", "c-d-z"]), st.integers(0, 3)), st.data())
def test_class_numbers_keep_apart_what_cannot_share_an_interface(
    users: list[ClassUser], recorded: dict[str, int], data: st.DataObject
) -> None:
    busy = data.draw(st.dictionaries(st.sampled_from(GATEWAYS), st.frozensets(st.integers(0, 5))))
    result = class_numbers(users, recorded, busy=busy)
    assert result.keys() == {user.id for user in users}
    for one in users:
        for other in users:
            if one.id < other.id and result[one.id] == result[other.id] and one.ends & other.ends:
                assert one.class_ == other.class_, "classes have an interface each"
                assert one.ends != other.ends, "an interface has one peer for a gateway"
                assert not one.hop_by_hop, "VXLAN has an interface for each circuit"
        assert (result[one.id] >= CLASSES) is one.hop_by_hop, "VXLAN takes no number that WireGuard could have"
        kept = one.id in recorded and result[one.id] == recorded[one.id]
        assert kept or not any(result[one.id] in busy.get(gateway, ()) for gateway in one.ends)
    assert class_numbers(users, result, busy=busy) == result


def test_circuits_of_a_class_share_a_number_and_distant_ones_reuse_it() -> None:
    users = [ClassUser("1", "a", "b", "x"), ClassUser("2", "a", "c", "x"), ClassUser("3", "d", "e", "y")]
    assert class_numbers(users, {}) == {"1": 0, "2": 0, "3": 0}


def test_more_classes_than_interfaces_leaves_circuits_out() -> None:
    users = [ClassUser(f"{number:03}", "a", "b", f"{number}") for number in range(CLASSES + 2)]
    assert len(class_numbers(users, {})) == CLASSES


def test_vxlan_goes_on_where_wireguard_ends() -> None:
    users = [ClassUser(f"{number:03}", "a", "b", "x", hop_by_hop=True) for number in range(CLASSES + 2)]
    assert sorted(class_numbers(users, {}).values()) == list(range(CLASSES, 2 * CLASSES + 2))


def test_every_class_number_fits_what_agents_accept() -> None:
    assert CLASS_NUMBERS - 1 == MAX_CLASS


def circuit(**status: object) -> Circuit:
    return Circuit(
        meta=Meta(name="one", namespace="mesh"),
        spec=CircuitSpec(from_="mesh/a", to="mesh/b", class_="x"),
        status=CircuitStatus(**status),  # type: ignore[arg-type]
    )


def test_what_any_witness_names_is_held() -> None:
    controller = Controller.of(gateway("a"), gateway("t"), gateway("b"), workload("w", "a"), workload("v", "b"))
    web = intent("web")
    controller.wish([(web, placed(web, "w", "v", "a", "t", "b"))])
    configs = controller.settle()
    (recorded,) = controller.placed.circuits
    label = recorded.labels[0].number
    nothing: dict = {"statuses": {}, "circuits": {}, "configs": {}, "acknowledgements": {}, "beacons": {}}  # type: ignore[type-arg]
    assert held(**nothing, blocks=Blocks()) == Held()
    by_config = held(**nothing | {"configs": configs}, blocks=Blocks())
    assert by_config.gateways == {m.id: m.number for m in controller.members() if m.is_gateway}
    assert by_config.addresses == {m.id: m.address for m in controller.members() if not m.is_gateway}
    assert by_config.circuits == {recorded.id: recorded.number}
    assert by_config.classes == {recorded.id: recorded.class_number}
    assert by_config.labels == {label}
    by_status = held(
        **nothing
        | {
            "statuses": {"mesh/a": ResourceStatus(number=7), "shop/w": ResourceStatus(mesh_address="100.64.7.9")},
            "circuits": {
                "mesh/one": circuit(
                    number=4,
                    class_number=5,
                    labels=(LabelAllocation(number=6, state=LabelState.STAGING, path=("mesh/a", "mesh/b")),),
                )
            },
        },
        blocks=Blocks(),
    )
    assert by_status == Held(
        gateways={"mesh/a": 7},
        addresses={"shop/w": "100.64.7.9"},
        circuits={"mesh/one": 4},
        classes={"mesh/one": 5},
        labels=frozenset({6}),
    )
    said = Beacon(labels=(3,), sending={recorded.id: 4}, heard=(5,))
    assert held(**nothing | {"beacons": {"mesh/t": said}}, blocks=Blocks()).labels == {3, 4, 5}


def test_nothing_changes_when_every_record_but_the_statuses_is_lost() -> None:
    controller = Controller.of(gateway("a"), gateway("b"), workload("w", "a"), workload("v", "b"))
    web = intent("web")
    controller.wish([(web, placed(web, "w", "v", "a", "b"))])
    before = dict(controller.settle())
    controller.configs, controller.acknowledgements = {}, {}
    controller.cycle()
    assert {key: config.revision for key, config in controller.configs.items()} == {
        key: config.revision for key, config in before.items()
    }


def test_resource_added_in_front_renumbers_nobody() -> None:
    controller = Controller.of(gateway("m"), gateway("n"), workload("w", "m"))
    controller.settle()
    before = controller.members()
    controller.resources["mesh/a"] = gateway("a", "m")
    after = {member.id: member for member in controller.members()}
    assert [(after[m.id].number, after[m.id].address) for m in before] == [(m.number, m.address) for m in before]
    assert after["shop/w"].gateways == ("mesh/a", "mesh/m")


@pytest.mark.parametrize(
    ("site", "gateways", "reason"),
    [
        pytest.param("west", ("mesh/g", "mesh/h"), "", id="those-of-the-site-sorted"),
        pytest.param("north", (), "site north of shop/w has no gateway", id="site-without-gateway"),
        pytest.param("", (), "shop/w names no site", id="no-site"),
    ],
)
def test_workload_attaches_to_its_sites_gateways(site: str, gateways: tuple[str, ...], reason: str) -> None:
    found = attach(workload("w", site), [gateway("h", "west"), gateway("g", "west"), gateway("e", "east")])
    assert found.gateways == gateways
    assert found.reason.startswith(reason)
    assert bool(found.reason) == bool(reason)
