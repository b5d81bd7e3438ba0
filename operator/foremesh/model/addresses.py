"""The mesh's address plan: which block holds what, and number to address.

A pair's addresses are counted from both ends of its block, so that the two of every pair add up to the same, and those
of circuits to the same as those of labels. Then the one may be written over the other in a header, and every checksum
of it stays right, also one that somebody else has yet to complete (as in NPTv6, RFC 6296).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from foremesh.model.manifest import Wire

EVERYBODY = IPv4Address("255.255.255.255")

CHECKSUM = 0xFFFF
"""What the Internet checksum counts modulo (RFC 1071)."""

MOST_KEPT = 1 << 16
"""Addresses that are remembered; a large plan asks for the same few thousand again and again."""


@lru_cache(maxsize=MOST_KEPT)
def network(text: str) -> IPv4Network:
    """A prefix, read once.

    Raises:
        ValueError: If it is none.
    """
    return IPv4Network(text)


@lru_cache(maxsize=MOST_KEPT)
def _is_machines(address: str) -> bool:
    try:
        asked = IPv4Address(address)
    except ValueError:
        return False
    return not (
        asked.is_loopback or asked.is_link_local or asked.is_multicast or asked.is_unspecified or asked == EVERYBODY
    )


def is_own_address(address: str, blocks: Blocks) -> bool:
    """Whether a machine can have an address in its own network: an IPv4 one, not of the mesh, and none of those that
    mean something else, such as link-local ones, where clouds keep their secrets."""
    return _is_machines(address) and not any(IPv4Address(address) in network(block) for block in blocks.all)


class BlockExhausted(ValueError):
    """A block has no address left for ``number``; carries ``block`` and ``number``."""

    def __init__(self, block: str, number: int) -> None:
        self.block = block
        self.number = number
        super().__init__(f"block {block} has no room for number {number}; nothing more can be allocated from it")


class Blocks(Wire, frozen=True, kw_only=True):
    """Address blocks, disjoint; configurable because 100.64.0.0/10 is used by others too."""

    mesh: str = "100.64.0.0/12"
    """A /24 for each gateway: .1 is the gateway itself, the rest its workloads."""
    hops: str = "100.80.0.0/16"
    """One address for each gateway's end of its links, used by link probes."""
    circuits: str = "100.96.0.0/12"
    """A pair for each circuit: the fixed outer addresses of its two ends."""
    labels: str = "100.112.0.0/12"
    """A pair for each label."""

    @property
    def all(self) -> tuple[str, ...]:
        return (self.mesh, self.hops, self.circuits, self.labels)

    def check(self) -> None:
        """Whether addresses can be given out.

        Raises:
            ValueError: If a block is no IPv4 prefix, shares addresses with another, or has no room for anything.
        """
        blocks = dict(zip(("mesh", "hops", "circuits", "labels"), self.all, strict=True))
        for name, block in blocks.items():
            try:
                network(block)
            except ValueError as error:
                raise ValueError(f"blocks.{name} {block!r} is no IPv4 prefix: {error}") from error
        for (name, block), (other, second) in combinations(blocks.items(), 2):
            if network(block).overlaps(network(second)):
                raise ValueError(
                    f"blocks.{name} {block} overlaps blocks.{other} {second}, and an address would be given out twice"
                )
        for first in (self.gateway_prefix, self.hop_address, self.circuit_pair, self.label_pair):
            first(0)

    def gateway_prefix(self, number: int) -> str:
        block = network(self.mesh)
        base = int(block.network_address) + (number << 8)
        if number < 0 or base + 255 > int(block.broadcast_address):
            raise BlockExhausted(self.mesh, number)
        return f"{IPv4Address(base)}/24"

    def gateway_address(self, number: int) -> str:
        return str(network(self.gateway_prefix(number))[1])

    def workload_address(self, gateway_number: int, index: int) -> str:
        """The ``index``-th workload (from 0) behind a gateway; .0, .1 and .255 are not workloads."""
        if not 0 <= index <= 252:
            raise BlockExhausted(self.gateway_prefix(gateway_number), index)
        return str(network(self.gateway_prefix(gateway_number))[2 + index])

    def hop_address(self, number: int) -> str:
        return _hop(self.hops, number)

    def circuit_pair(self, number: int) -> tuple[str, str]:
        """Outer addresses of the circuit's ``from`` and ``to`` ends."""
        return _pair(self.circuits, number, _top(self.circuits, self.labels))

    def label_pair(self, number: int) -> tuple[str, str]:
        """The label's addresses at the circuit's ``from`` and ``to`` ends."""
        return _pair(self.labels, number, _last(self.labels))

    @property
    def most_circuits(self) -> int:
        """Pairs that there are for circuits."""
        return _room(self.circuits, _top(self.circuits, self.labels))

    @property
    def most_labels(self) -> int:
        """Pairs that there are for labels."""
        return _room(self.labels, _last(self.labels))

    def circuit_number(self, address: str) -> int | None:
        """Of the circuit that an address belongs to; None if none can have it."""
        return _number(self.circuits, address, _top(self.circuits, self.labels))

    def label_number(self, address: str) -> int | None:
        """Of the label that an address belongs to; None if none can have it."""
        return _number(self.labels, address, _last(self.labels))


def neutral(before: tuple[str, str], after: tuple[str, str]) -> bool:
    """Whether a packet's two addresses can become two others without a change to any checksum."""
    difference = sum(int(IPv4Address(one)) for one in before) - sum(int(IPv4Address(one)) for one in after)
    return difference % CHECKSUM == 0


@lru_cache(maxsize=MOST_KEPT)
def _hop(block: str, number: int) -> str:
    hops = network(block)
    if not 0 <= number < hops.num_addresses - 2:
        raise BlockExhausted(block, number)
    return str(hops[number + 1])


@lru_cache(maxsize=MOST_KEPT)
def _pair(block: str, number: int, top: int) -> tuple[str, str]:
    if not 0 <= number < _room(block, top):
        raise BlockExhausted(block, number)
    return str(network(block)[number]), str(IPv4Address(top - number))


def _number(block: str, address: str, top: int) -> int | None:
    asked, first, room = int(IPv4Address(address)), int(network(block).network_address), _room(block, top)
    return next((number for number in (asked - first, top - asked) if 0 <= number < room), None)


def _room(block: str, top: int) -> int:
    return (top - int(network(block).network_address) + 1) // 2


def _last(block: str) -> int:
    return int(network(block).broadcast_address)


@lru_cache
def _top(block: str, other: str) -> int:
    """The highest address of a block whose pairs are to add up to what another's do; its last one where that would
    cost it more than half its pairs."""
    first, last = int(network(block).network_address), _last(block)
    spare = (first + last - int(network(other).network_address) - _last(other)) % CHECKSUM
    return last - spare if 2 * spare <= last - first else last
