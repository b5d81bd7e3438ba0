"""Random configs of one gateway or workload, and random changes of them, for tests that look for what is left behind.

A config is made of parts, each drawn from a seed of its own; a change draws some parts anew. So changes are small and
large, add and take away, and bring back what was there before. Everything drawn is valid: ``desired`` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from agent.configs import BLOCKS, fake_key
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import (
    AttachedWorkload,
    Behind,
    CircuitEnd,
    GatewayConfig,
    Hello,
    HopPeer,
    LabelEnd,
    Name,
    OwnAddress,
    Steer,
    Transit,
    Uplink,
)
from foremesh.model.intent import Encryption
from foremesh.model.resource import Protocol

HOST = "default/a"
PARTS = ("role", "links", "labels", "circuits", "sending", "transits", "attached", "uplinks", "own", "names", "timing")
FAR = (2, 3, 4, 5)
NETWORKS = ("internet", "leased")
"""The first is the host's own."""
VXLAN_CLASS = 100
WORKLOAD_SHARE, CALM_SHARE = 0.15, 0.6
"""Shares of configs that are a workload's, and of changes that touch one part alone."""


@dataclass(frozen=True)
class Drawn:
    """A config, as the seeds of its parts.

    Attributes:
        own_keys: Public hop keys that the host has; links run on one or the other.
    """

    own_keys: Sequence[str] = ("",)
    epoch: int = 0
    seeds: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    def changed(self, random: Random) -> Drawn:
        """The next config: one part of it drawn anew, or some, or all."""
        count = 1 if random.random() < CALM_SHARE else random.randint(2, len(PARTS))
        anew = {part: random.randrange(40) for part in random.sample(PARTS, count)}
        return replace(self, epoch=self.epoch + 1, seeds={**self.seeds, **anew})

    def config(self) -> GatewayConfig:
        role = self._random("role")
        if role.random() < WORKLOAD_SHARE:
            return self._workload()
        return self._gateway(number=role.choice([1, 1, 1, 7]), underlay=role.choice(["", NETWORKS[0]]))

    def _random(self, part: str) -> Random:
        return Random(f"{part} {self.seeds[part]}")

    def _workload(self) -> GatewayConfig:
        random = self._random("uplinks")
        address = BLOCKS.workload_address(random.choice([8, 9]), 0)
        outside = ["10.9.0.0/16", "10.77.1.0/24"]
        own = self._random("own")
        return GatewayConfig(
            gateway=HOST,
            epoch=self.epoch,
            mesh_address=address,
            uplinks=tuple(
                Uplink(
                    gateway=f"default/g{n}",
                    public_key=fake_key("attach", n),
                    endpoint=f"203.0.113.{n}:{random.choice([51821, 51999])}",
                    address=address,
                    gateway_address=BLOCKS.gateway_address(n),
                    destinations=(BLOCKS.mesh, *random.sample(outside, random.randrange(3))),
                )
                for n in random.sample((8, 9), random.randint(0, 2))
            ),
            own_addresses=_own_addresses(own),
            own_address=own.choice([None, "203.0.113.77"]),
            called=_firewall(own, address),
            names=self._names(),
        )

    def _gateway(self, number: int, underlay: str) -> GatewayConfig:
        links = self._links(underlay)
        circuits, towards = self._circuits(links)
        transits = self._transits(links, towards)
        attached = self._attached(number)
        own = self._random("own")
        behind = tuple(
            Behind(
                resource=f"default/v{n}",
                address=BLOCKS.workload_address(number, 100 + n),
                target=f"203.0.113.{200 + n}",
                own_addresses=_own_addresses(own),
            )
            for n in range(own.choice([0, 0, 1, 2]))
        )
        timing = self._random("timing")
        return GatewayConfig(
            gateway=HOST,
            epoch=self.epoch,
            hello=Hello(interval_ms=timing.choice([50, 50, 100]), missed=timing.choice([3, 4])),
            number=number,
            mesh_address=BLOCKS.gateway_address(number),
            hop_address=BLOCKS.hop_address(number),
            mesh_prefix=BLOCKS.gateway_prefix(number),
            underlay=underlay,
            hop_peers=tuple(HopPeer(**link, labels=tuple(sorted(towards.get(i, ())))) for i, link in enumerate(links)),
            transits=transits,
            attached=attached,
            circuits=circuits,
            steering=self._steering(circuits, attached),
            local=_firewall(own, attached[0].address) if len(attached) > 1 else (),
            own_addresses=_own_addresses(own),
            names=self._names(),
            behind=behind,
        )

    def _links(self, underlay: str) -> list[dict[str, object]]:
        """Neighbours over one network or both, on one own key or another, dialled or not."""
        random = self._random("links")
        networks = NETWORKS if underlay else NETWORKS[:1]
        found = []
        for far in random.sample(FAR, random.randint(1, len(FAR))):
            for network in random.sample(networks, random.randint(1, len(networks))):
                found.append(
                    {
                        "gateway": f"default/g{far}",
                        "underlay": network,
                        "public_key": fake_key("hop", far, network),
                        "own_key": random.choice(self.own_keys),
                        "endpoint": random.choice([None, f"203.0.113.{far}:51820", f"203.0.113.{far}:51999"]),
                        "hop_address": BLOCKS.hop_address(far),
                    }
                )
        return found

    def _circuits(self, links: Sequence[object]) -> tuple[tuple[CircuitEnd, ...], dict[int, list[str]]]:
        """Ends of circuits, and link to the label addresses that lie in its direction."""
        random, labels, sending = self._random("circuits"), self._random("labels"), self._random("sending")
        towards: dict[int, list[str]] = {}
        ends = []
        vxlan = VXLAN_CLASS
        for far in random.sample(FAR, random.randint(1, 3)):
            for number in random.sample((0, 1), random.randint(0, 2)):
                hop_by_hop = random.random() < 0.35
                initiator = random.random() < 0.5
                key = 10 * far + number
                pair = BLOCKS.circuit_pair(key)
                accepted = []
                for label in sorted(labels.sample(range(6), labels.randint(0, 3))):
                    own, other = BLOCKS.label_pair(10 * key + label)[:: 1 if initiator else -1]
                    link = labels.randrange(len(links))
                    towards.setdefault(link, []).append(other)
                    accepted.append(LabelEnd(number=10 * key + label, own=own, far=other, route=f"{far} by {link}"))
                numbers = [one.number for one in accepted] or [None]
                if hop_by_hop:
                    vxlan += 1
                ends.append(
                    CircuitEnd(
                        circuit=f"default/a-{far}-{number}" + ("-x" if hop_by_hop else ""),
                        class_number=vxlan if hop_by_hop else number,
                        encryption=Encryption.HOP_BY_HOP if hop_by_hop else Encryption.END_TO_END,
                        local_address=pair[not initiator],
                        remote_address=pair[initiator],
                        public_key=fake_key("circuit", far),
                        remote_gateway=f"default/g{far}",
                        remote_prefixes=(BLOCKS.gateway_prefix(far),),
                        send_label=sending.choice([None, *numbers]),
                        standby_label=sending.choice([None, *numbers]),
                        labels=tuple(accepted),
                        firewall=_firewall(random, BLOCKS.workload_address(1, 0)),
                        initiator=initiator,
                        probe_address=BLOCKS.gateway_address(far),
                        mtu=sending.choice([1280, 1340, 1360]),
                        police_bps=sending.choice([None, 20e6, 400e6]),
                        dscp=sending.choice([None, 0, 46]),
                    )
                )
        return tuple(ends), towards

    def _transits(self, links: Sequence[object], towards: dict[int, list[str]]) -> tuple[Transit, ...]:
        random = self._random("transits")
        if len(links) < 2:
            return ()
        found = []
        for number in random.sample(range(900, 912), random.randint(0, 4)):
            pair = BLOCKS.label_pair(number)
            for address, link in zip(pair, random.sample(range(len(links)), 2), strict=True):
                towards.setdefault(link, []).append(address)
            found.append(Transit(label=number, circuit=f"default/t-{number % 3}", addresses=pair))
        return tuple(found)

    def _attached(self, number: int) -> tuple[AttachedWorkload, ...]:
        random = self._random("attached")
        return tuple(
            AttachedWorkload(
                resource=f"default/w{n}",
                public_key=fake_key("workload", n, random.randrange(2)),
                address=BLOCKS.workload_address(number, n),
            )
            for n in sorted(random.sample(range(5), random.randint(0, 3)))
        )

    def _steering(self, circuits: Sequence[CircuitEnd], attached: Sequence[AttachedWorkload]) -> tuple[Steer, ...]:
        random = self._random("sending")
        found = []
        for end in circuits:
            protocol = random.choice([None, Protocol.TCP, Protocol.UDP])
            found.append(
                Steer(
                    circuit=end.circuit,
                    sources=tuple(f"{one.address}/32" for one in attached if random.random() < 0.5),
                    destinations=end.remote_prefixes,
                    protocol=protocol,
                    ports=tuple(random.sample((80, 443, 5201), random.randint(0, 2))) if protocol else (),
                    answers=not end.initiator,
                )
            )
        return tuple(found)

    def _names(self) -> tuple[Name, ...]:
        random = self._random("names")
        return tuple(
            Name(name=f"w{n}.default.mesh", address=BLOCKS.workload_address(2, n))
            for n in random.sample(range(4), random.randint(0, 3))
        )


def _firewall(random: Random, source: str) -> tuple[FirewallRule, ...]:
    rules = (
        FirewallRule(protocol=Protocol.TCP, ports=(80, 443), sources=(f"{source}/32",)),
        FirewallRule(protocol=Protocol.UDP, destinations=(BLOCKS.gateway_prefix(2),)),
        FirewallRule(protocol=Protocol.ICMP),
    )
    return tuple(random.sample(rules, random.randint(0, len(rules))))


def _own_addresses(random: Random) -> tuple[OwnAddress, ...]:
    return tuple(
        OwnAddress(own=f"203.0.113.{150 + n}", mesh=random.choice([None, BLOCKS.workload_address(2, n)]), ports=(80,))
        for n in random.sample(range(4), random.randint(0, 2))
    )
