"""The routing daemons of the comparison: babeld with its RTT metric, and FRR's OSPF with and without BFD.

Their configurations are the files under ``templates/``. bird's OSPF is not used: it computes routes once a second at
most, and would be up to a second late whatever its BFD says; FRR's starts at once.
"""

from __future__ import annotations

from typing import ClassVar

from convergence.system import OnLinks, links_of, number_of, said, template, wireguard_version
from lab.nodes import Node

FRR = "/usr/lib/frr"
"""Where Debian puts FRR's daemons."""
REALTIME = ("chrt", "-r", "1")
"""Foremesh's failover process asks for real-time priority; BFD has it too, so that a busy machine is no difference."""
OWN_RUN = "mkdir -p /run/frr; mount -t tmpfs -o mode=755 tmpfs /run/frr; chown frr:frr /run/frr"
"""Gives a gateway's daemons a folder of their own for sockets; it is in this gateway's mounts only."""


class Babel(OnLinks):
    """babeld with its RTT metric, hellos every second."""

    name, title = "babeld", "babeld, RTT metric, hello 1 s"
    timers: ClassVar[str] = "hello-interval 1 update-interval 4"

    def route(self, node: Node) -> None:
        folder = self.folder / node.name
        text = template("babeld.conf").substitute(
            router_id=f"02:00:00:00:00:{number_of(node.name):02x}",
            folder=folder,
            timers=self.timers,
            interfaces="\n".join(f"interface {link.device}" for link in links_of(node.name)),
        )
        self.daemon(node, ["babeld", "-c", self.file(node, "babeld.conf", text)])

    def versions(self) -> dict[str, str]:
        return {"babeld": said(["babeld", "-V"]).removeprefix("babeld-"), "wireguard-go": wireguard_version()}


class BabelDefault(Babel):
    """The same with babeld's own intervals: hellos every four seconds."""

    name, title = "babeld-default", "babeld, RTT metric, default timers"
    timers = ""
    slow = True
    start_s = 120.0


class Ospf(OnLinks):
    """OSPF with costs in proportion to delay, and BFD."""

    name, title = "ospf", "OSPF + BFD 50 ms x 3"
    router: ClassVar[str] = " timers throttle spf 0 50 500\n timers throttle lsa all 50\n timers lsa min-arrival 50"
    interface: ClassVar[str] = (
        " ip ospf hello-interval 1\n ip ospf dead-interval 4\n ip ospf bfd\n ip ospf bfd profile tight\n"
    )
    daemons: ClassVar[tuple[str, ...]] = ("zebra", "bfdd", "ospfd")

    def route(self, node: Node) -> None:
        node.exec("sh", "-ec", OWN_RUN)
        interfaces = "".join(
            f"interface {link.device}\n ip ospf area 0\n ip ospf network point-to-point\n"
            f" ip ospf cost {round(10 * link.ms)}\n{self.interface}!\n"
            for link in links_of(node.name)
        )
        files = {
            "zebra": f"hostname {node.name}\n",
            "bfdd": template("bfdd.conf").template,
            "ospfd": template("ospfd.conf").substitute(
                name=node.name,
                router_id=f"10.78.0.{number_of(node.name)}",
                timers=self.router,
                interfaces=interfaces,
            ),
        }
        for daemon in self.daemons:
            self.file(node, f"{daemon}.conf", files[daemon])
            # A daemon gives up root before it reads its configuration: it has to lie where that user may read.
            node.exec("install", "-o", "frr", "-m", "640", self.folder / node.name / f"{daemon}.conf", "/run/frr/")
            socket = "zserv.api" if daemon == "zebra" else f"{daemon}.vty"
            self.daemon(
                node,
                [
                    *(REALTIME if daemon == "bfdd" else ()),
                    f"{FRR}/{daemon}",
                    "-f",
                    f"/run/frr/{daemon}.conf",
                    "--log",
                    "stdout",
                    "-A",
                    "127.0.0.1",
                ],
                ready=lambda name=socket: node.exec("test", "-S", f"/run/frr/{name}", check=False).returncode == 0,
            )

    def versions(self) -> dict[str, str]:
        return {"frr": said(["ospfd", "--version"]).splitlines()[0].split()[-1], "wireguard-go": wireguard_version()}


class OspfDefault(Ospf):
    """The same without BFD, with OSPF's own intervals: hellos every 10 s, dead after 40."""

    name, title = "ospf-default", "OSPF, default timers"
    router, interface = "", ""
    daemons = ("zebra", "ospfd")
    slow = True
    start_s = 120.0
