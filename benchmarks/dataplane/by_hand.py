"""The same WireGuard nesting as a circuit's, set up by hand with ``wg`` and ``ip``: no nftables, no labels, no agent.

A hop interface on each of three gateways; over it, between the outer two, either an inner WireGuard or a VXLAN.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from foremesh.model.intent import Encryption
from lab.nodes import Node
from lab.process import wait_until

WIREGUARD_ENVIRONMENT = {"WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"}
"""Without it wireguard-go refuses to start on Linux."""

HOP_MTU = 1420
PORT, INNER_PORT = 51820, 51900
VXLAN_PORTS = {"a": 4789, "b": 4790}
"""Where each end listens: what goes to a port that this host listens on cannot be gathered."""
HOP = {"a": "10.77.0.1", "t": "10.77.0.2", "b": "10.77.0.3"}
"""Each gateway's address inside the hops."""
TUNNEL = "hand1"

MAKE_PAIR = """
import asyncio, subprocess
from foremesh.agent import gather
asyncio.run(gather.create("hand-in", "hand-out", "hand0"))
subprocess.run(("ip", "link", "set", "dev", "hand-in", "up"), check=True)
"""


class ByHand:
    """Gateways a, t and b by those roles.

    Args:
        nodes: By role.
        ways: (role, neighbour's role) to the address where the neighbour is reached.
        lans: Prefix of the LAN behind a, and behind b.
    """

    def __init__(
        self, nodes: Mapping[str, Node], ways: Mapping[tuple[str, str], str], lans: Mapping[str, str], folder: Path
    ) -> None:
        self._nodes, self._ways, self._lans, self._folder = nodes, ways, lans, folder
        self._keys = {role: _key_pair() for role in (*HOP, "inner-a", "inner-b")}

    def build_hops(self) -> None:
        """The links a-t and t-b, and addresses and routes over them."""
        allowed = {("a", "t"): ("t", "b"), ("t", "a"): ("a",), ("t", "b"): ("b",), ("b", "t"): ("t", "a")}
        for role, node in self._nodes.items():
            self._wireguard(role, "hand0", role, PORT, HOP_MTU)
            for (own, neighbour), behind in allowed.items():
                if own == role:
                    self._peer(role, "hand0", neighbour, f"{self._ways[own, neighbour]}:{PORT}", *map(HOP.get, behind))
            node.exec("ip", "address", "add", f"{HOP[role]}/24", "dev", "hand0")
            for name in ("net/ipv4/ip_forward=1", "net/ipv4/conf/all/rp_filter=0", "net/ipv4/conf/hand0/rp_filter=0"):
                path, _, value = name.partition("=")
                node.exec("sh", "-c", f"echo {value} > /proc/sys/{path}")

    def build_tunnel(self, encryption: Encryption, mtu: int) -> None:
        """The tunnel from a to b, in place of the one that is there, and the LANs' routes through it."""
        for own, far in (("a", "b"), ("b", "a")):
            node = self._nodes[own]
            node.exec("ip", "link", "delete", TUNNEL, check=False)
            if encryption is Encryption.END_TO_END:
                self._wireguard(own, TUNNEL, f"inner-{own}", INNER_PORT, mtu)
                self._peer(own, TUNNEL, f"inner-{far}", f"{HOP[far]}:{INNER_PORT}", self._lans[far])
            else:
                where = ("id", 7, "local", HOP[own], "remote", HOP[far], "dstport", VXLAN_PORTS[own], "nolearning")
                node.exec("ip", "link", "add", TUNNEL, "type", "vxlan", *where)
                mac = {"a": "02:00:00:00:00:0a", "b": "02:00:00:00:00:0b"}
                node.exec("ip", "link", "set", TUNNEL, "address", mac[own], "mtu", mtu, "up")
                node.exec("ip", "address", "add", f"10.78.0.{'ab'.index(own) + 1}/24", "dev", TUNNEL)
                there = ("dst", HOP[far], "port", VXLAN_PORTS[far])
                node.exec("bridge", "fdb", "replace", mac[far], "dev", TUNNEL, *there, "permanent")
                far_address = f"10.78.0.{'ab'.index(far) + 1}"
                node.exec(
                    "ip", "neighbour", "replace", far_address, "lladdr", mac[far], "dev", TUNNEL, "nud", "permanent"
                )
            via = ("via", f"10.78.0.{'ab'.index(far) + 1}") if encryption is Encryption.HOP_BY_HOP else ()
            node.exec("ip", "route", "replace", self._lans[far], *via, "dev", TUNNEL)

    def gather(self, on: bool) -> None:
        """Have VXLAN's packets gathered before they enter WireGuard, as a circuit's are, or not."""
        for own, far in (("a", "b"), ("b", "a")):
            node = self._nodes[own]
            if on and node.exec("ip", "link", "show", "hand-in", check=False).returncode:
                node.exec(sys.executable, "-c", MAKE_PAIR)
            node.exec("ip", "route", "replace", HOP[far], "dev", "hand-in" if on else "hand0", "src", HOP[own])

    def _wireguard(self, role: str, name: str, key: str, port: int, mtu: int) -> None:
        node = self._nodes[role]
        # A session of its own, as those of agents have: the kernel may share its time out by session.
        node.exec("env", *(f"{k}={v}" for k, v in WIREGUARD_ENVIRONMENT.items()), "setsid", "wireguard-go", name)
        wait_until(lambda: node.exec("wg", "show", name, check=False).returncode == 0, 10, what=f"{name} answers")
        file = self._folder / f"hand-{key}.key"
        file.touch(mode=0o600)
        file.write_text(self._keys[key][0])
        node.exec("wg", "set", name, "private-key", file, "listen-port", port)
        file.unlink()
        node.exec("ip", "link", "set", name, "mtu", mtu, "up")

    def _peer(self, role: str, name: str, key: str, endpoint: str, *allowed: str | None) -> None:
        prefixes = ",".join(filter(None, allowed))
        self._nodes[role].exec(
            "wg", "set", name, "peer", self._keys[key][1], "endpoint", endpoint, "allowed-ips", prefixes
        )


def _key_pair() -> tuple[str, str]:
    def wg(*argv: str, said: str = "") -> str:
        run = subprocess.run(("wg", *argv), input=said, capture_output=True, text=True, check=True, env=os.environ)
        return run.stdout.strip()

    private = wg("genkey")
    return private, wg("pubkey", said=private)
