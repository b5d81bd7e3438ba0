"""Agents on real parts: WireGuard, routes and nftables in namespaces carry a ping from workload to workload."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator

import msgspec
import pytest

from agent.configs import BLOCKS, CIRCUIT, HOSTS, PORTS, configs, resource, workload_address
from agent.running import AGENT, MARKER, ONE_WAY_MS, Capture, Mesh, running_mesh
from lab.process import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("agents")) as running:
        yield running


def test_a_ping_takes_the_label_over_the_transit(mesh: Mesh) -> None:
    before = mesh.metric("t", "foremesh_label_forwarded_packets_total", circuit=CIRCUIT)
    assert before is not None
    assert mesh.ping(count=5).returncode == 0
    after = mesh.metric("t", "foremesh_label_forwarded_packets_total", circuit=CIRCUIT)
    assert after is not None
    assert after - before >= 10  # there and back


def test_a_transit_sees_only_ciphertext(mesh: Mesh) -> None:
    with Capture(mesh.lab["t"], "fm-hop") as transit, Capture(mesh.lab["b"], "fm-att") as behind_the_end:
        assert mesh.ping("-p", MARKER, "-s", 64).returncode == 0
    assert MARKER in behind_the_end.octets
    relayed = [line for line in transit.packets.splitlines() if " IP " in line and "51841" in line]
    assert len(relayed) >= 6
    assert MARKER not in transit.octets
    assert workload_address("wb") not in transit.packets


def test_probes_measure_links_circuits_and_uplinks(mesh: Mesh) -> None:
    def reported() -> bool:
        beacon = mesh.api.beacons.get(resource("a"))
        probe = beacon.probes.get(CIRCUIT) if beacon else None
        return bool(beacon and probe and beacon.peers_up == 1 and probe.answering and probe.mtu_fits)

    wait_until(reported, 20, what="a's beacon tells of the link and the circuit")
    probe = mesh.api.beacons[resource("a")].probes[CIRCUIT]
    assert probe.rtt_ms is not None
    assert 4 * ONE_WAY_MS <= probe.rtt_ms < 4 * ONE_WAY_MS + 30
    link = {"src": resource("a"), "dst": resource("t"), "link": "internet"}
    answered = mesh.metric("a", "foremesh_link_rtt_seconds_count", **link)
    total_s = mesh.metric("a", "foremesh_link_rtt_seconds_sum", **link)
    assert answered
    assert total_s
    assert 2 * ONE_WAY_MS <= 1000 * total_s / answered < 2 * ONE_WAY_MS + 30
    for name in ("receive_bytes_total", "transmit_bytes_total", "last_handshake_seconds"):
        assert mesh.metric("a", f"foremesh_link_{name}", **link), name
        assert mesh.metric("a", f"foremesh_circuit_{name}", circuit=CIRCUIT), name
    assert mesh.metric("a", "foremesh_circuit_probes_sent_total", src=resource("a"), dst=resource("b"))
    wait_until(
        lambda: mesh.api.beacons[resource("wa")].probes[resource("a")].answering, 20, what="wa's uplink is probed"
    )
    assert mesh.metric("wa", "foremesh_uplink_rtt_seconds_count", uplink=resource("a"))


def test_an_mtu_too_large_for_the_path_is_seen(mesh: Mesh) -> None:
    """Full-size packets are dropped on the way while small ones pass."""
    node = mesh.lab["t"]
    node.exec("nft", "add table ip narrow; add chain ip narrow forward { type filter hook forward priority -10; }")
    try:
        node.exec("nft", "add rule ip narrow forward meta length > 1300 drop")
        wait_until(
            lambda: mesh.api.beacons[resource("a")].probes[CIRCUIT].mtu_fits is False, 20, what="MTU found too large"
        )
        assert mesh.api.beacons[resource("a")].probes[CIRCUIT].answering
    finally:
        node.exec("nft", "delete table ip narrow")
    wait_until(lambda: mesh.api.beacons[resource("a")].probes[CIRCUIT].mtu_fits, 20, what="MTU fits again")


@pytest.mark.parametrize("host", HOSTS)
def test_a_second_application_has_nothing_to_do(mesh: Mesh, host: str) -> None:
    assert mesh.differences(host) == ""


def test_an_equal_config_of_a_newer_epoch_touches_nothing(mesh: Mesh) -> None:
    def tables(host: str) -> str:
        # Handles are given anew to whatever is made anew; counters would start from 0.
        text = mesh.lab[host].exec("nft", "-t", "-a", "list", "ruleset").stdout
        return re.sub(r"packets \d+ bytes \d+", "", text)

    before = {host: tables(host) for host in HOSTS}
    forwarded = mesh.metric("t", "foremesh_label_forwarded_packets_total", circuit=CIRCUIT)
    mesh.offer()
    assert {host: tables(host) for host in HOSTS} == before
    now = mesh.metric("t", "foremesh_label_forwarded_packets_total", circuit=CIRCUIT)
    assert forwarded is not None
    assert now is not None
    assert now >= forwarded > 0


def test_an_older_epoch_is_refused(mesh: Mesh) -> None:
    old = configs(mesh.keys(), epoch=0, underlay=mesh.underlay, label=9)["t"]
    mesh.api.offer(old)
    outcome = wait_until(lambda: mesh.api.outcome(old), 20, what="word on the old config")
    assert not outcome.applied
    assert "older" in outcome.error
    assert outcome.labels == (5,)
    assert mesh.differences("t") == ""


def test_what_the_firewall_does_not_name_is_dropped(mesh: Mesh) -> None:
    address = workload_address("wb")
    for port in (PORTS[0], 9999):
        server = mesh.lab["wb"].popen("socat", f"TCP-LISTEN:{port},fork,reuseaddr", "SYSTEM:echo served")
        connect = ("socat", "-T", "2", "-", f"TCP:{address}:{port},connect-timeout=2")
        try:
            listening = ("ss", "-Hltn", f"sport = :{port}")
            wait_until(lambda command=listening: mesh.lab["wb"].exec(*command).stdout, 10, what=f"server on {port}")
            dropped = mesh.metric("a", "foremesh_circuit_dropped_packets_total", circuit=CIRCUIT) or 0
            said = mesh.lab["wa"].exec(*connect, check=False).stdout
            now = mesh.metric("a", "foremesh_circuit_dropped_packets_total", circuit=CIRCUIT) or 0
        finally:
            server.terminate()
            server.wait(10)
        assert (said, now > dropped) == (("served\n", False) if port in PORTS else ("", True)), port


def test_nothing_new_comes_from_the_far_end(mesh: Mesh) -> None:
    back = ("ping", "-q", "-c", 1, "-W", 1, workload_address("wa"))
    assert mesh.lab["wb"].exec(*back, check=False).returncode == 1


def test_a_workload_cannot_use_the_address_of_another(mesh: Mesh) -> None:
    """Whatever it sends goes out as its own."""
    stolen = "100.64.1.77"
    node = mesh.lab["wa"]
    node.exec("ip", "address", "add", f"{stolen}/32", "dev", "lo")
    try:
        with Capture(mesh.lab["a"], "fm-att", "icmp") as seen:
            mesh.ping("-I", stolen, count=1)
        assert workload_address("wa") in seen.packets
        assert stolen not in seen.packets
    finally:
        node.exec("ip", "address", "delete", f"{stolen}/32", "dev", "lo")


def test_a_move_to_another_label_loses_nothing(mesh: Mesh) -> None:
    def move() -> None:
        mesh.offer(label=5, labels=(6,))
        mesh.offer(label=6, labels=(5,))
        mesh.drain()
        mesh.offer(label=6)

    sent, answered = mesh.flooding(move, count=3000)
    assert answered == sent
    assert BLOCKS.label_pair(5)[0] not in mesh.lab["t"].exec("nft", "list", "ruleset").stdout
    assert [mesh.differences(host) for host in HOSTS] == [""] * len(HOSTS)


def test_a_config_that_fails_half_way_costs_no_packet_and_is_rolled_back(mesh: Mesh) -> None:
    """It moves to another label, and nft refuses its firewall when addresses and routes of that are there."""

    def offer_what_fails() -> None:
        mesh.epoch += 1
        made = configs(mesh.keys(), epoch=mesh.epoch, underlay=mesh.underlay, label=7)["a"]
        (end,) = made.circuits
        failing = msgspec.structs.replace(made, circuits=(msgspec.structs.replace(end, dscp=99),))
        mesh.api.offer(failing)
        outcome = wait_until(lambda: mesh.api.outcome(failing), 30, what="word on the config that fails")
        assert not outcome.applied
        assert "nft" in outcome.error
        assert outcome.error.endswith(f"epoch {mesh.epoch - 1} is in force")
        assert outcome.labels == (6,)

    sent, answered = mesh.flooding(offer_what_fails, count=2000)
    assert answered == sent
    assert mesh.differences("a") == ""
    assert BLOCKS.label_pair(7)[0] not in mesh.lab["a"].exec("ip", "address").stdout
    mesh.offer(label=6)  # a newer config, which the agent does not keep waiting


def test_a_restarted_agent_adopts_what_is_there(mesh: Mesh) -> None:
    before = {host: mesh.wireguards(host) for host in ("a", "t")}
    assert set(before["a"]) == {"fm-hop", "fm-att", "fm-c1"}

    def restart() -> None:
        for host in ("a", "t"):
            assert mesh.agents[host].stop() == 0
            mesh.start(host)
            wait_until(lambda h=host: mesh.metric(h, "foremesh_agent_config_applied") == 1, 20, what="applied again")

    sent, answered = mesh.flooding(restart, count=1500)
    assert answered == sent
    assert {host: mesh.wireguards(host) for host in ("a", "t")} == before


def test_agents_go_on_without_the_api_and_remember_over_a_restart(mesh: Mesh) -> None:
    mesh.api.failing = 503
    try:
        assert mesh.agents["a"].stop() == 0
        mesh.start("a")
        wait_until(lambda: mesh.metric("a", "foremesh_circuit_rtt_seconds_count"), 20, what="probes of the circuit")
        assert mesh.metric("a", "foremesh_agent_api_up") == 0
        assert mesh.ping().returncode == 0
    finally:
        mesh.api.failing = 0
    wait_until(lambda: mesh.metric("a", "foremesh_agent_api_up") == 1, 20, what="the API is asked again")


def test_an_api_that_forgot_is_told_again(mesh: Mesh) -> None:
    mesh.api.forget()
    wait_until(lambda: len(mesh.api.registrations) == len(HOSTS), 20, what="all registered again")


@pytest.mark.parametrize(
    ("host", "interface"), [("a", "fm-c1"), ("a", "fm-hop"), ("a", "fm-att"), ("wa", "fm-up0"), ("t", "fm-hop")]
)
def test_a_dead_wireguard_leaks_nothing_and_is_replaced(mesh: Mesh, host: str, interface: str) -> None:
    agent = mesh.agents[host]
    agent.signal(signal.SIGSTOP)  # nobody mends it while we look
    try:
        outside = [Capture(mesh.lab[name], "any", "net 100.64.0.0/10") for name in HOSTS]
        pid = mesh.wireguards(host)[interface]
        os.kill(pid, signal.SIGKILL)
        gone = ("ip", "link", "show", interface)
        wait_until(lambda: mesh.lab[host].exec(*gone, check=False).returncode, 10, what=f"{interface} gone")
        for capture in outside:
            capture.__enter__()
        assert mesh.ping("-i", "0.2", count=5).returncode != 0
        for capture in outside:
            capture.__exit__()
        for capture in outside:
            clear = [line for line in capture.packets.splitlines() if re.search(r" (eth0|lan0|mgmt0) +(In|Out) ", line)]
            assert clear == [], capture.node.name
    finally:
        agent.signal(signal.SIGCONT)
    wait_until(lambda: mesh.ping(count=1).returncode == 0, 40, what="a ping after the agent mended it")
    assert mesh.differences(host) == ""


def test_a_flushed_ruleset_comes_back(mesh: Mesh) -> None:
    mesh.lab["a"].exec("nft", "flush", "ruleset")
    wait_until(lambda: mesh.differences("a") == "", 20, what="tables set up again")
    assert mesh.ping().returncode == 0


def test_every_change_of_the_ruleset_is_noticed(mesh: Mesh) -> None:
    """By whoever it was made; what packets write into maps, and the passing of time, are none."""

    def generation() -> int:
        ask = "from foremesh.agent import nft; print(nft.generation())"
        return int(mesh.lab["wa"].exec(sys.executable, "-c", ask).stdout)

    before = generation()
    assert mesh.ping(count=1).returncode == 0
    assert generation() == before
    mesh.lab["wa"].exec("nft", "add", "table", "ip", "others")
    mesh.lab["wa"].exec("nft", "delete", "table", "ip", "others")
    assert generation() == before + 2


def test_a_block_that_others_route_is_not_joined(mesh: Mesh) -> None:
    config = configs(mesh.keys(), epoch=mesh.epoch + 1, underlay=mesh.underlay)["wb"]
    mesh.epoch += 1
    node = mesh.lab["wb"]
    node.exec("ip", "route", "add", f"{BLOCKS.gateway_prefix(200)}", "dev", "lan0")
    try:
        mesh.api.offer(config)
        outcome = wait_until(lambda: mesh.api.outcome(config), 20, what="word on the config")
        assert not outcome.applied
        assert "overlaps" in outcome.error
        assert mesh.ping().returncode == 0
    finally:
        node.exec("ip", "route", "delete", f"{BLOCKS.gateway_prefix(200)}", "dev", "lan0")


def test_leaving_leaves_nothing(mesh: Mesh) -> None:
    """Last: it takes the mesh apart."""
    for host in HOSTS:
        assert mesh.agents[host].stop() == 0
        node = mesh.lab[host]
        assert mesh.wireguards(host)
        node.exec(sys.executable, "-c", AGENT, "leave", mesh.folder / f"{host}.yaml")
        assert mesh.wireguards(host) == {}
        assert "fm-" not in node.exec("ip", "link").stdout
        assert node.exec("ip", "route", "show", "table", "all", "proto", "152").stdout == ""
        assert "152" not in node.exec("ip", "-N", "rule").stdout
        assert "foremesh" not in node.exec("nft", "list", "tables").stdout
