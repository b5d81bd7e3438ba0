"""Links on real parts: two networks between two gateways, and hop keys that change under traffic."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from agent.controlled import Controlled
from agent.mesh_api import FakeMeshApi
from foremesh.model.circuit import Figures
from foremesh.model.intent import Intent, Profile
from foremesh.model.link import LinkId
from foremesh.model.plan import Path as Way
from foremesh.model.plan import Placement
from foremesh.model.resource import GatewayUnderlay, Resource
from lab.process import wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology
from lab.world import Pair
from network.scene import gateway, intent, workload

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

MPLS = {"a": "203.0.113.201", "b": "203.0.113.202"}
"""Addresses on the second network, a wire between a and b; far from the lab's own."""


def placed(one: Intent, source: str, destination: str, *gateways: str, underlay: str = "internet") -> Placement:
    ids = tuple(f"mesh/{name}" for name in gateways)
    links = tuple(LinkId(src=x, dst=y, underlay=underlay) for x, y in pairwise(ids))
    way = Way(gateways=ids, links=links, figures=Figures())
    return Placement(intent=one.id, source=f"shop/{source}", destination=f"shop/{destination}", path=way)


def declared(lab: Lab) -> dict[str, Resource]:
    found = {}
    for name in ("a", "t", "b"):
        made = gateway(name)
        assert made.spec.gateway is not None
        further = (GatewayUnderlay(name="mpls", endpoint=f"{MPLS[name]}:51824"),) if name in MPLS else ()
        spec = msgspec.structs.replace(
            made.spec.gateway, endpoint=f"{lab[name].underlay_address}:51820", underlays=further
        )
        found[name] = msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, gateway=spec))
    return found | {name: workload(name, name[1]) for name in ("wa", "xa", "wb", "xb")}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controlled]:
    """wa talks to wb over the internet by t, xa to xb over the wire."""
    names = ("a", "t", "b")
    ways = {(x, y): Pair(2.0) for x in names for y in names if x != y}
    gateways = tuple(Gateway(name, "Core", name, "eu", 0.0) for name in names)
    workloads = tuple(Workload(name, name[1]) for name in ("wa", "xa", "wb", "xb"))
    with Lab(Topology(gateways, workloads, ways)) as lab, FakeMeshApi(lab.mgmt_address) as api:
        lab["a"].exec("ip", "link", "add", "mpls0", "type", "veth", "peer", "name", "mpls0", "netns", lab["b"].netns)
        for name, address in MPLS.items():
            lab[name].exec("ip", "address", "add", f"{address}/30", "dev", "mpls0")
            lab[name].exec("ip", "link", "set", "mpls0", "up")
        settings = {
            name: {"endpoint": f"{lab[name].underlay_address}:51820"}
            | ({"underlays": [{"name": "mpls", "endpoint": f"{MPLS[name]}:51824"}]} if name in MPLS else {})
            | {"attachEndpoint": f"{lab[name].lan_address}:51821"}
            for name in names
        }
        running = Controlled(lab, api, tmp_path_factory.mktemp("agents"), declared(lab), settings)
        for host in running.resources:
            running.start(host)
        wait_until(running.registered, 40, what="all agents registered")
        slow, fast = intent("slow"), intent("fast", profile=Profile.LATENCY)
        running.controller.wish(
            [
                (slow, placed(slow, "wa", "wb", "a", "t", "b")),
                (fast, placed(fast, "xa", "xb", "a", "b", underlay="mpls")),
            ]
        )
        running.drive(lambda: running.settled() and len(running.labels()) == 2, "both circuits set up")
        for ends in (("wa", "wb"), ("xa", "xb")):
            running.drive(lambda ends=ends: running.reaches(*ends), f"a ping from {ends[0]} to {ends[1]}")
        yield running


def hop_key_files(mesh: Controlled, host: str) -> list[Path]:
    return sorted((mesh.folder / host / "keys").glob("hop*.key"))


def test_each_circuit_goes_over_its_own_network(mesh: Controlled) -> None:
    def octets(interface: str) -> int:
        shown = json.loads(mesh.lab["a"].exec("ip", "-json", "-s", "link", "show", "dev", interface).stdout)
        return int(shown[0]["stats64"]["tx"]["bytes"])

    (mpls,) = mesh.interfaces("a") - {"fm-hop"}
    for ends, used, other in ((("wa", "wb"), "fm-hop", mpls), (("xa", "xb"), mpls, "fm-hop")):
        before = octets(used), octets(other)
        argv = ("ping", "-q", "-c", 20, "-i", 0.01, "-s", 1000, mesh.address(ends[1]))
        assert mesh.lab[ends[0]].exec(*argv).returncode == 0
        assert octets(used) - before[0] > 20 * 1000
        assert octets(other) - before[1] < 20 * 1000, "probes alone"


def test_a_network_that_is_cut_takes_its_circuits_alone(mesh: Controlled) -> None:
    mesh.lab["b"].exec("ip", "link", "set", "mpls0", "down")
    try:
        wait_until(lambda: not mesh.reaches("xa", "xb", 0.5), 10, what="the circuit over the wire is cut")
        assert mesh.reaches("wa", "wb")
        links = wait_until(lambda: _links_seen(mesh, "a", "mpls"), 20, what="loss of the wire is measured")
        assert links["mesh/b/internet"].loss == 0
    finally:
        mesh.lab["b"].exec("ip", "link", "set", "mpls0", "up")
    wait_until(lambda: mesh.reaches("xa", "xb"), 30, what="the circuit over the wire is back")
    for ends in (("wa", "wb"), ("xa", "xb")):
        mesh.drive(lambda ends=ends: mesh.reaches(*ends), f"{ends[0]} reaches {ends[1]}")


def _links_seen(mesh: Controlled, host: str, lossy: str) -> dict | None:
    links = mesh.api.beacons[f"mesh/{host}"].links
    found = links.get(f"mesh/b/{lossy}")
    return links if found and found.loss else None


@pytest.mark.parametrize("host", ["t", "a"], ids=["transit", "end"])
def test_a_key_changes_under_traffic_without_a_lost_packet(mesh: Controlled, host: str) -> None:
    (before,) = hop_key_files(mesh, host)
    old = mesh.api.registrations[f"mesh/{host}"].keys.hop

    with mesh.flooding("wa", "wb") as ping:
        os.utime(before, (1, 1))
        mesh.restart(host, keyRotation="1h")
        mesh.drive(lambda: mesh.api.registrations[f"mesh/{host}"].keys.hop != old, "the new key is registered")
        mesh.drive(lambda: not before.exists() and mesh.settled(), "the old key is gone")
        ping.wait_for(100)
    assert ping.lost() == 0
    (after,) = hop_key_files(mesh, host)
    assert after != before
    assert after.stat().st_mode & 0o777 == 0o600
    shown = {
        name: mesh.lab[host].exec("wg", "show", name, "public-key").stdout.strip() for name in mesh.interfaces(host)
    }
    assert set(shown.values()) == {mesh.api.registrations[f"mesh/{host}"].keys.hop}
    assert [mesh.differences(name) for name in ("a", "t", "b")] == [""] * 3


def two_keys(mesh: Controlled, host: str) -> bool:
    return len({one.key for one in mesh.api.registrations[f"mesh/{host}"].hops}) == 2


STEPS: dict[str, Callable[[Controlled, str, set[str]], bool]] = {
    "made": lambda mesh, host, _: len(hop_key_files(mesh, host)) == 2,
    "told": lambda mesh, host, _: two_keys(mesh, host),
    "second-interface": lambda mesh, host, before: bool(mesh.interfaces(host) - before),
    "first-interface-gone": lambda mesh, host, before: not mesh.interfaces(host) & before,
    "old-key-destroyed": lambda mesh, host, _: len(hop_key_files(mesh, host)) == 1,
}


def test_an_agent_killed_at_every_step_still_changes_its_key(mesh: Controlled) -> None:
    host = "t"
    (file,) = hop_key_files(mesh, host)
    old, before = mesh.api.registrations[f"mesh/{host}"].keys.hop, mesh.interfaces(host)

    with mesh.flooding("wa", "wb") as ping:
        os.utime(file, (1, 1))
        mesh.restart(host, keyRotation="1h")
        for what, seen in STEPS.items():
            mesh.drive(lambda seen=seen: seen(mesh, host, before), what)
            mesh.agents[host].signal(signal.SIGKILL)
            wait_until(lambda: not mesh.agents[host].running, 10, what=f"agent killed after {what}")
            mesh.start(host, keyRotation="1h")
        mesh.drive(lambda: not two_keys(mesh, host) and mesh.settled(), "all done")
        ping.wait_for(100)
    assert ping.lost() == 0
    assert not file.exists()
    assert mesh.api.registrations[f"mesh/{host}"].keys.hop != old
    wait_until(lambda: mesh.differences(host) == "", 10, what="host as its config says")


def test_a_gateway_that_lost_its_keys_comes_back_with_new_ones(mesh: Controlled) -> None:
    host = "t"
    old = mesh.api.registrations[f"mesh/{host}"].keys.hop
    assert mesh.agents[host].stop() == 0
    for file in (mesh.folder / host / "keys").iterdir():
        file.unlink()
    mesh.start(host)
    mesh.drive(lambda: mesh.api.registrations[f"mesh/{host}"].keys.hop != old, "another key is registered")
    mesh.drive(lambda: mesh.settled() and mesh.reaches("wa", "wb"), "its circuits are back")
    assert mesh.differences(host) == ""
