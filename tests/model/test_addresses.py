from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.model.addresses import BlockExhausted, Blocks, neutral

BLOCKS = Blocks()
MESH, HOPS, CIRCUITS, LABELS = map(ip_network, BLOCKS.all)


def test_the_default_blocks_are_disjoint_and_inside_the_shared_address_space() -> None:
    networks = [MESH, HOPS, CIRCUITS, LABELS]
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[i + 1 :])
    assert all(network.subnet_of(ip_network("100.64.0.0/10")) for network in networks)


@given(st.integers(0, 4095), st.integers(0, 252))
def test_a_gateway_and_its_workloads_live_in_its_own_prefix(number: int, index: int) -> None:
    prefix = ip_network(BLOCKS.gateway_prefix(number))
    gateway, workload = ip_address(BLOCKS.gateway_address(number)), ip_address(BLOCKS.workload_address(number, index))
    assert prefix.subnet_of(MESH)
    assert {gateway, workload} <= set(prefix.hosts())
    assert gateway != workload


@given(st.lists(st.integers(0, 4095), min_size=2, max_size=2, unique=True))
def test_gateways_never_share_a_prefix(numbers: list[int]) -> None:
    one, other = (ip_network(BLOCKS.gateway_prefix(number)) for number in numbers)
    assert not one.overlaps(other)


@given(st.lists(st.integers(0, BLOCKS.most_circuits - 1), min_size=2, max_size=2, unique=True))
def test_pairs_never_share_an_address_and_stay_in_their_block(numbers: list[int]) -> None:
    for pair, block in ((BLOCKS.circuit_pair, CIRCUITS), (BLOCKS.label_pair, LABELS)):
        addresses = [ip_address(address) for number in numbers for address in pair(number)]
        assert len(set(addresses)) == 4
        assert all(address in block for address in addresses)


@given(st.integers(0, BLOCKS.most_circuits - 1), st.integers(0, BLOCKS.most_labels - 1))
def test_a_circuits_addresses_and_a_labels_add_up_to_the_same(circuit: int, label: int) -> None:
    pair, other = BLOCKS.circuit_pair(circuit), BLOCKS.label_pair(label)
    assert neutral(pair, other)
    assert _folded(*pair) == _folded(*other)
    assert not neutral(pair, (other[0], str(ip_address(other[1]) + 1)))


def _folded(*addresses: str) -> int:
    """Sum of their 16-bit words as RFC 1071 has it."""
    total = sum(word for a in addresses for word in divmod(int(ip_address(a)), 0x10000))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(
    st.sampled_from(("100.96.0.0/12", "10.0.0.0/8", "192.168.0.0/16", "172.20.0.0/20", "10.9.9.0/31")),
    st.sampled_from(("100.112.0.0/12", "10.128.0.0/9", "192.168.128.0/17", "198.18.0.0/15")),
    st.integers(0, 2**19 - 1),
)
def test_numbers_are_read_back_from_addresses(circuits: str, labels: str, number: int) -> None:
    blocks = Blocks(circuits=circuits, labels=labels)
    assert 4 * blocks.most_circuits >= ip_network(circuits).num_addresses
    circuit, label = number % blocks.most_circuits, number % blocks.most_labels
    assert [blocks.circuit_number(address) for address in blocks.circuit_pair(circuit)] == [circuit] * 2
    assert [blocks.label_number(address) for address in blocks.label_pair(label)] == [label] * 2
    assert blocks.circuit_number("8.8.8.8") is None


@given(st.lists(st.integers(0, 65533), min_size=2, max_size=2, unique=True))
def test_hop_addresses_are_hosts_of_their_block_and_differ(numbers: list[int]) -> None:
    addresses = {ip_address(BLOCKS.hop_address(number)) for number in numbers}
    assert len(addresses) == 2
    assert all(address in HOPS for address in addresses)
    assert not addresses & {HOPS.network_address, HOPS.broadcast_address}


@pytest.mark.parametrize(
    ("allocate", "numbers", "block"),
    [
        pytest.param(BLOCKS.gateway_prefix, (4095, 4096), BLOCKS.mesh, id="gateways"),
        pytest.param(BLOCKS.hop_address, (65533, 65534), BLOCKS.hops, id="hops"),
        pytest.param(
            BLOCKS.circuit_pair, (BLOCKS.most_circuits - 1, BLOCKS.most_circuits), BLOCKS.circuits, id="circuits"
        ),
        pytest.param(BLOCKS.label_pair, (2**19 - 1, 2**19), BLOCKS.labels, id="labels"),
        pytest.param(
            lambda index: BLOCKS.workload_address(3, index), (252, 253), BLOCKS.gateway_prefix(3), id="workloads"
        ),
    ],
)
def test_a_block_gives_its_last_number_and_refuses_the_next(allocate, numbers, block) -> None:
    last, beyond = numbers
    assert allocate(last)
    for number in (beyond, -1):
        with pytest.raises(BlockExhausted) as refused:
            allocate(number)
        assert (refused.value.block, refused.value.number) == (block, number)
