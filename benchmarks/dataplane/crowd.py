"""Fifty far gateways that cost little: a namespace each with WireGuard as their agents would set it up, and no agent.

Every far gateway ends four circuits, one a class, each with an active label straight from the gateway under test and a
standby that is relayed by the next far gateway (in clear on the far side, which is not measured). Hellos and probes of
all of them are answered by two processes (``crowd_process``) with the product's own code.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from dataplane import crowd_process
from dataplane.by_hand import WIREGUARD_ENVIRONMENT
from foremesh.agent.failover.told import failover_table
from foremesh.agent.state import CIRCUIT_MTU, HOP_MTU, port_of
from foremesh.model.addresses import Blocks
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import (
    AttachedWorkload,
    CircuitEnd,
    GatewayConfig,
    Hello,
    HopPeer,
    LabelEnd,
    Steer,
)
from foremesh.model.registration import PublicKeys
from foremesh.model.resource import Protocol
from lab import cleanup
from lab.nodes import Namespace, Node
from lab.topology import Lab

BLOCKS = Blocks()
HUB, HUB_NUMBER, HUB_ADDRESS = "bench/hub", 1, "203.0.113.126"
CLASS_NUMBERS = (1, 2, 3, 4)
HOP_PORT = 51820
QUIET = Hello(interval_ms=60_000)
"""As good as no hellos: one a minute, near the longest interval that a hello can tell."""
STARTED_AT_ONCE = 4
"""Namespaces that are set up beside each other."""
FIRST_USER = 20_000
"""Each far gateway's WireGuard runs as a user of its own, from this one on: wireguard-go takes an inotify instance, of
which a user may have 128, and the machine's other WireGuards must not go without."""


class KeyPair:
    """A WireGuard key pair of a far gateway."""

    def __init__(self) -> None:
        key = X25519PrivateKey.generate()
        self.private = base64.b64encode(key.private_bytes_raw()).decode()
        self.public = base64.b64encode(key.public_key().public_bytes_raw()).decode()


@dataclass(frozen=True, slots=True)
class Circuit:
    """A circuit of the gateway under test: to a far gateway, of a class; addresses are (here, far)."""

    far: int
    class_number: int
    number: int
    active: LabelEnd
    standby: LabelEnd

    @property
    def id(self) -> str:
        return f"bench/hub-f{self.far}-{self.class_number}"


class Crowd:
    """The far gateways, numbered from 0.

    Args:
        lab: Has the gateway under test, a node named hub.
        count: How many; two at least, since each is relayed by another.
    """

    def __init__(self, lab: Lab, count: int, folder: Path) -> None:
        self._lab, self._folder, self._count = lab, folder, count
        self._hub: Node = lab["hub"]
        self._hop_keys = [KeyPair() for _ in range(count)]
        self._circuit_keys = [KeyPair() for _ in range(count)]
        self._workload_keys = [KeyPair() for _ in CLASS_NUMBERS]
        self._namespaces = [Namespace(f"f{far}", f"{lab.prefix}-f{far}") for far in range(count)]
        self._switch = Namespace("crowd", f"{lab.prefix}-crowd")
        self._processes: list[subprocess.Popen[Any]] = []
        self.circuits = tuple(self._circuits())

    def _circuits(self) -> Iterator[Circuit]:
        for far in range(self._count):
            for class_number in CLASS_NUMBERS:
                number = far * len(CLASS_NUMBERS) + class_number - 1

                def label(n: int, route: str) -> LabelEnd:
                    here, there = BLOCKS.label_pair(n)
                    return LabelEnd(number=n, own=here, far=there, route=route)

                direct = label(2 * number, f"hub-f{far}")
                relayed = label(2 * number + 1, f"hub-f{self._relay(far)}-f{far}")
                yield Circuit(far, class_number, number, direct, relayed)

    def _relay(self, far: int) -> int:
        return (far + 1) % self._count

    # The gateway under test

    def hub_config(self, epoch: int, hello: Hello) -> GatewayConfig:
        """Its config: a link to every far gateway, all circuits, a workload a class and what it steers."""
        workloads = [BLOCKS.workload_address(HUB_NUMBER, index) for index in range(len(CLASS_NUMBERS))]
        return GatewayConfig(
            gateway=HUB,
            epoch=epoch,
            hello=hello,
            number=HUB_NUMBER,
            mesh_address=BLOCKS.gateway_address(HUB_NUMBER),
            hop_address=BLOCKS.hop_address(HUB_NUMBER),
            mesh_prefix=BLOCKS.gateway_prefix(HUB_NUMBER),
            hop_peers=tuple(self._peer(far) for far in range(self._count)),
            attached=tuple(
                AttachedWorkload(resource=f"bench/w{index}", public_key=key.public, address=address)
                for index, (key, address) in enumerate(zip(self._workload_keys, workloads, strict=True))
            ),
            circuits=tuple(self._hub_end(circuit) for circuit in self.circuits),
            steering=tuple(
                Steer(
                    circuit=circuit.id,
                    sources=(f"{workloads[circuit.class_number - 1]}/32",),
                    destinations=(BLOCKS.gateway_prefix(_number(circuit.far)),),
                    protocol=Protocol.TCP,
                    ports=(443,),
                )
                for circuit in self.circuits
            ),
        )

    def _peer(self, far: int) -> HopPeer:
        direct = [c.active.far for c in self.circuits if c.far == far]
        relayed = [c.standby.far for c in self.circuits if self._relay(c.far) == far]
        return HopPeer(
            gateway=f"bench/f{far}",
            underlay="internet",
            public_key=self._hop_keys[far].public,
            endpoint=f"{_underlay(far)}:{HOP_PORT}",
            hop_address=BLOCKS.hop_address(_number(far)),
            labels=(*direct, *relayed),
        )

    def _hub_end(self, circuit: Circuit) -> CircuitEnd:
        local, remote = BLOCKS.circuit_pair(circuit.number)
        return CircuitEnd(
            circuit=circuit.id,
            class_number=circuit.class_number,
            local_address=local,
            remote_address=remote,
            public_key=self._circuit_keys[circuit.far].public,
            remote_gateway=f"bench/f{circuit.far}",
            remote_prefixes=(BLOCKS.gateway_prefix(_number(circuit.far)),),
            labels=(circuit.active, circuit.standby),
            send_label=circuit.active.number,
            standby_label=circuit.standby.number,
            firewall=(FirewallRule(protocol=Protocol.TCP, ports=(443,)),),
            initiator=True,
            probe_address=BLOCKS.gateway_address(_number(circuit.far)),
            mtu=CIRCUIT_MTU,
        )

    # The far gateways

    def start(self, keys: PublicKeys, hello: Hello) -> None:
        """Set all of them up towards a gateway with these keys."""
        switch, names = self._switch.netns, [one.netns for one in self._namespaces]
        cleanup.ip(batch="".join(f"netns add {name}\n" for name in (switch, *names)))
        settings = {f"ipv4/conf/{which}/rp_filter": 0 for which in ("all", "default")} | {"ipv4/ip_forward": 1}
        for namespace in (self._switch, *self._namespaces):
            namespace.start(settings | {"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1})
        for namespace in (self._switch, *self._namespaces):
            namespace.ready()
        ends = {"hub": self._hub.netns} | {f"f{far}": name for far, name in enumerate(names)}
        cleanup.ip(
            batch="".join(f"link add {e} netns {switch} type veth peer name wan netns {n}\n" for e, n in ends.items())
        )
        lines = ["link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up"]
        lines += [line for end in ends for line in (f"link set {end} master br0", f"link set {end} up")]
        cleanup.ip("-n", switch, batch="\n".join(lines) + "\n")
        cleanup.ip("-n", self._hub.netns, batch=f"addr add {HUB_ADDRESS}/26 dev wan\nlink set wan up\n")
        with ThreadPoolExecutor(STARTED_AT_ONCE) as pool:
            list(pool.map(lambda far: self._set_up(far, keys), range(self._count)))
        told = self._folder / "crowd.json"
        told.write_text(json.dumps([self._told(far, hello) for far in range(self._count)]))
        for role in ("hellos", "probes"):
            pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            argv = (sys.executable, crowd_process.__file__, role, told)
            process = subprocess.Popen([str(word) for word in argv], start_new_session=True, **pipe)  # type: ignore[call-overload]
            self._processes.append(process)
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"the far gateways' {role} did not start; nothing is measured")

    def ask(self, request: str) -> dict[str, int]:
        """Ask the process that sends the far gateways' hellos: ``count``, or ``interval MS`` to change them."""
        process = self._processes[0]
        assert process.stdin
        assert process.stdout
        process.stdin.write(request + "\n")
        process.stdin.flush()
        answer: dict[str, int] = json.loads(process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the processes; namespaces go with the lab."""
        for process in self._processes:
            process.kill()
            process.wait()
        for namespace in (self._switch, *self._namespaces):
            namespace.stop()

    def _set_up(self, far: int, keys: PublicKeys) -> None:
        own = [c for c in self.circuits if c.far == far]
        relayed = [c for c in self.circuits if self._relay(c.far) == far]
        files = {"hop": self._conf(self._hop_keys[far], HOP_PORT, keys.hop, "100.64.0.0/10", HUB_ADDRESS)}
        hub_mesh = f"{BLOCKS.gateway_address(HUB_NUMBER)}/32"
        for number in CLASS_NUMBERS:
            files[f"c{number}"] = self._conf(self._circuit_keys[far], port_of(number), keys.circuit, hub_mesh)
        lines = [
            f"addr add {_underlay(far)}/26 dev wan",
            "link set wan up",
            f"addr add {BLOCKS.gateway_address(_number(far))}/32 dev lo",
            f"link set hop mtu {HOP_MTU} up",
            f"addr add {BLOCKS.hop_address(_number(far))}/32 dev hop",
            "route add 100.64.0.0/10 dev hop",
            f"route add 100.112.0.0/12 via {_underlay(self._relay(far))} table 100",
        ]
        for circuit in own:
            lines += [f"addr add {label.far}/32 dev lo" for label in (circuit.active, circuit.standby)]
            lines += [f"rule add from {circuit.standby.far}/32 lookup 100"]
            device = f"c{circuit.class_number}"
            lines += [f"link set {device} mtu {CIRCUIT_MTU} up"]
            lines += [f"route add {hub_mesh} dev {device} metric {circuit.class_number}"]
        lines += [f"route add {circuit.standby.far}/32 via {_underlay(circuit.far)}" for circuit in relayed]
        folder = self._folder / f"f{far}"
        folder.mkdir(mode=0o700)
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / "ip").write_text("\n".join(lines) + "\n")
        environment = " ".join(f"{k}={v}" for k, v in WIREGUARD_ENVIRONMENT.items())
        user = f"setpriv --reuid {FIRST_USER + far} --regid {FIRST_USER + far} --clear-groups"
        caps = "+net_admin,+dac_override"  # the latter for /dev/net/tun, which not every machine opens to all
        script = f"""
            set -e; cd /; chmod 777 /var/run/wireguard
            for name in {" ".join(files)}; do
              {environment} {user} --inh-caps {caps} --ambient-caps {caps} wireguard-go $name 2>&1
              wg setconf $name {folder}/$name
            done
            ip -batch {folder}/ip
        """
        self._namespaces[far].exec("sh", "-c", script, timeout=120.0)

    def _conf(self, own: KeyPair, port: int, peer: str, allowed: str, endpoint: str = "") -> str:
        lines = ["[Interface]", f"PrivateKey = {own.private}", f"ListenPort = {port}", "[Peer]"]
        lines += [f"PublicKey = {peer}", f"AllowedIPs = {allowed}"]
        return "\n".join([*lines, *([f"Endpoint = {endpoint}:{HOP_PORT}"] if endpoint else [])]) + "\n"

    def _told(self, far: int, hello: Hello) -> dict[str, Any]:
        """What ``crowd_process`` is to know of a far gateway."""
        turned = tuple(_turned(self._hub_end(circuit)) for circuit in self.circuits if circuit.far == far)
        config = GatewayConfig(gateway=f"bench/f{far}", epoch=1, hello=hello, circuits=turned)
        table = failover_table(config)
        assert table is not None
        mesh_address = BLOCKS.gateway_address(_number(far))
        return {
            "netns": self._namespaces[far].netns,
            "table": msgspec.to_builtins(table) | {"digest": table.digest},
            "probes": {"hop": BLOCKS.hop_address(_number(far))} | {f"c{n}": mesh_address for n in CLASS_NUMBERS},
        }


def _turned(end: CircuitEnd) -> CircuitEnd:
    """The far end of a circuit, of one end."""
    labels = tuple(msgspec.structs.replace(label, own=label.far, far=label.own) for label in end.labels)
    return msgspec.structs.replace(
        end,
        local_address=end.remote_address,
        remote_address=end.local_address,
        remote_gateway=HUB,
        labels=labels,
        initiator=False,
    )


def _number(far: int) -> int:
    """A far gateway's number in the mesh."""
    return HUB_NUMBER + 1 + far


def _underlay(far: int) -> str:
    return f"203.0.113.{65 + far}"
