"""What a config becomes on a host, and what is refused before anything changes."""

from __future__ import annotations

import msgspec
import pytest

from agent.configs import BLOCKS, CIRCUIT, FAKE_KEYS, configs, fake_key, workload_address
from foremesh.agent import nft, rulesets
from foremesh.agent.desired import ConfigRefused, Local, desired, guarded, overlaps
from foremesh.agent.failover.told import failover_table
from foremesh.agent.hops import OWN, Underlay
from foremesh.agent.host import move_down, read_sysctl
from foremesh.agent.ip import parse_foreign, parse_routes, parse_rules, route_line
from foremesh.agent.state import KEEPALIVE_S, KeyRole, Names, Route, Rule, SeenTable, Vxlan
from foremesh.model.circuit import FirewallRule
from foremesh.model.config import GatewayConfig, Steer
from foremesh.model.intent import Encryption
from foremesh.model.resource import Protocol

LOCAL = Local(public_keys=FAKE_KEYS["a"])
NAMES = Names()


def changed(config: GatewayConfig, **fields: object) -> GatewayConfig:
    return msgspec.structs.replace(config, **fields)


def rules_of(table: str, chain: str, config: GatewayConfig) -> tuple[str, ...]:
    found = desired(config, LOCAL).tables[table]
    return next(c.rules for c in found.chains if c.name == chain)


def test_a_neighbour_has_its_hop_address_and_its_labels_alone() -> None:
    hop = desired(configs()["t"], LOCAL).interfaces["fm-hop"]
    label_a, label_b = BLOCKS.label_pair(5)
    assert {key: peer.allowed for key, peer in hop.peers.items()} == {
        FAKE_KEYS["a"][KeyRole.HOP]: {"100.80.0.2/32", f"{label_a}/32"},
        FAKE_KEYS["b"][KeyRole.HOP]: {"100.80.0.4/32", f"{label_b}/32"},
    }


def test_a_workload_has_its_address_alone() -> None:
    attach = desired(configs()["a"], LOCAL).interfaces["fm-att"]
    assert [peer.allowed for peer in attach.peers.values()] == [{f"{workload_address('wa')}/32"}]


@pytest.mark.parametrize("dials_out", [True, False], ids=["behind-translation-keeps-alive", "reachable-does-not"])
def test_only_who_dials_out_keeps_the_way_open(dials_out: bool) -> None:
    local = Local(public_keys=FAKE_KEYS["a"], underlays={OWN: Underlay(dialled=not dials_out)})
    hop = desired(configs()["a"], local).interfaces["fm-hop"]
    assert [peer.keepalive_s for peer in hop.peers.values()] == [KEEPALIVE_S if dials_out else 0]


def test_a_name_that_is_not_known_leaves_the_peer_without_endpoint() -> None:
    config = configs()["wa"]
    uplink = changed(config.uplinks[0], endpoint="gateway.example:51821")
    config = changed(config, uplinks=(uplink,))
    for address in (None, "198.51.100.9:51821"):
        local = Local(public_keys=FAKE_KEYS["wa"], endpoints={"gateway.example:51821": address})
        (peer,) = desired(config, local).interfaces["fm-up0"].peers.values()
        assert peer.endpoint == address


@pytest.mark.parametrize(
    ("encryption", "asked", "given"),
    [
        (Encryption.END_TO_END, 1370, 1360),
        (Encryption.HOP_BY_HOP, 1370, 1370),
        (Encryption.HOP_BY_HOP, 1400, 1370),
        (Encryption.HOP_BY_HOP, 1280, 1280),
    ],
    ids=["wireguard-leaves-less", "vxlan-leaves-more", "vxlan-has-a-head-too", "as-asked"],
)
def test_a_circuit_is_no_larger_than_what_carries_it(encryption: Encryption, asked: int, given: int) -> None:
    config = configs(mtu=asked, encryption=encryption)["a"]
    assert desired(config, LOCAL).interfaces["fm-c1"].mtu == given


def test_hop_by_hop_is_vxlan_from_circuit_address_to_circuit_address() -> None:
    made = {host: desired(configs(encryption=Encryption.HOP_BY_HOP)[host], LOCAL) for host in "ab"}
    own, far = BLOCKS.circuit_pair(9)
    interface = made["a"].interfaces["fm-c1"]
    assert interface.vxlan == Vxlan(1, own, far, "02:00:00:00:00:01", 28001)
    assert (interface.public_key, interface.listen_port, interface.peers) == ("", 0, {})
    for here, there in ("ab", "ba"):
        ((address, mac),) = made[here].interfaces["fm-c1"].neighbours
        other = made[there].interfaces["fm-c1"].vxlan
        assert other
        assert (address, mac) == (other.local, other.mac)
        assert {r.gateway for r in made[here].routes if r.device == "fm-c1"} == {address}


def test_vxlan_is_taken_from_links_alone_and_with_its_own_identifier() -> None:
    own, far = BLOCKS.circuit_pair(9)
    rules = rules_of(rulesets.HOP, "receive", configs(encryption=Encryption.HOP_BY_HOP)["a"])
    assert rules[0] == 'iifname != "fm-h*" udp dport { 28001 } counter name stray drop'
    ours, others, *_ = (rule for rule in rules[1:] if "28001 }" in rule)
    assert ours == f"ip saddr . ip daddr . udp dport {{ {far} . {own} . 28001 }} accept"
    assert others == "udp dport { 28001 } counter name stray drop"
    assert not [rule for rule in rules_of(rulesets.HOP, "receive", configs()["a"]) if "28001" in rule]


def test_a_transit_relays_its_labels_and_nothing_else() -> None:
    accept, hellos, relay, drop = rules_of(rulesets.HOP, "forward", configs()["t"])
    assert accept == 'iifname != "fm-h*" oifname != "fm-h*" oifname != "fm-g*" accept'
    assert "udp dport 51831" in hellos
    assert "counter" not in hellos, "hellos are not what a circuit carries"
    assert '"label_5"' in relay
    assert drop == "counter name stray drop"
    without = changed(configs()["t"], transits=())
    assert rules_of(rulesets.HOP, "forward", without) == (accept, drop)


def test_a_circuit_without_a_label_sends_nothing() -> None:
    config = configs()["a"]
    silent = changed(config, circuits=(changed(config.circuits[0], send_label=None),))
    rewritten, *rest = rules_of(rulesets.HOP, "send", silent)
    assert "map @send_own" in rewritten
    assert "map @send_far" in rewritten
    assert rest[0] == f"ip daddr {BLOCKS.circuits} counter name stray drop"  # what the maps do not hold
    table = failover_table(silent)
    assert table
    assert table.circuits[CIRCUIT].send is None


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        (FirewallRule(), "accept"),
        (FirewallRule(protocol=Protocol.TCP), "ip protocol tcp accept"),
        (FirewallRule(protocol=Protocol.UDP, ports=(53,)), "udp dport { 53 } accept"),
        (FirewallRule(ports=(443, 80, 80)), "meta l4proto { tcp, udp } th dport { 80, 443 } accept"),
        (FirewallRule(protocol=Protocol.ICMP, ports=(1,)), "ip protocol icmp accept"),
        (
            FirewallRule(sources=("100.64.1.0/24", "100.64.1.7/32"), destinations=("100.64.3.2/32",)),
            "ip saddr { 100.64.1.0/24 } ip daddr { 100.64.3.2/32 } accept",
        ),
    ],
    ids=[
        "empty-allows-all",
        "protocol-alone",
        "protocol-and-port",
        "ports-alone-are-tcp-and-udp",
        "icmp-has-no-ports",
        "overlaps-merge",
    ],
)
def test_firewall_rules(rule: FirewallRule, match: str) -> None:
    config = configs()["a"]
    config = changed(config, circuits=(changed(config.circuits[0], firewall=(rule,)),))
    chains = {c.name: c.rules for c in desired(config, LOCAL).tables[rulesets.EDGE].chains}
    outgoing = next(rules for name, rules in chains.items() if name.startswith("out_"))
    incoming = next(rules for name, rules in chains.items() if name.startswith("in_"))
    drop = f"counter name {rulesets.drop_counter(CIRCUIT)} drop"
    assert outgoing == (match, drop)
    assert incoming == (drop,)


def test_answers_are_steered_by_source_port_and_the_first_rule_decides() -> None:
    config = configs()["b"]
    steering = tuple(
        Steer(circuit=CIRCUIT, sources=(), destinations=(), protocol=Protocol.TCP, ports=(port,), answers=True)
        for port in (7, 6)
    )
    rules = rules_of(rulesets.EDGE, "steering", changed(config, steering=steering))
    arrived, error, others, *steered = rules
    assert others == 'iifname != "fm-att" return'
    assert [rule.split(" meta ")[0] for rule in steered] == ["tcp sport { 7 }", "tcp sport { 6 }"]
    marked = "mark & 0xf000ffff | 0x00020000"
    assert {rule.split("} ")[1] for rule in steered} == {f"meta mark set meta {marked} ct mark set ct {marked} accept"}
    # What arrived by a circuit, and what is said to be wrong with it.
    assert arrived == 'iifname vmap { "fm-c1" : goto arrived_1 }'
    assert rules_of(rulesets.EDGE, "arrived_1", config) == (f"ct mark set ct {marked}",)
    assert error.startswith("ct state related ct mark & 0x0fff0000 != 0 ip daddr 100.64.0.0/12 meta mark set ct mark")


def test_workloads_of_one_gateway_talk_only_as_told() -> None:
    config = changed(configs()["a"], local=(FirewallRule(protocol=Protocol.TCP, ports=(80,)),))
    among = 'iifname "fm-att" oifname "fm-att"'
    assert [r for r in rules_of(rulesets.EDGE, "forward", config) if among in r] == [
        f"{among} tcp dport {{ 80 }} accept"
    ]
    assert not [r for r in rules_of(rulesets.EDGE, "forward", configs()["a"]) if among in r]


def test_what_an_uplink_reaches_outside_the_blocks_is_guarded_too() -> None:
    config = configs()["wa"]
    wider = changed(config, uplinks=(changed(config.uplinks[0], destinations=(BLOCKS.mesh, "10.9.0.0/16")),))
    assert guarded(wider) == (*BLOCKS.all, "10.9.0.0/16")
    stops = {route.destination for route in desired(wider, LOCAL).routes if not route.device}
    assert stops == {*BLOCKS.all, "10.9.0.0/16"}


@pytest.mark.parametrize(
    ("host", "change", "cause"),
    [
        ("t", lambda c: {"hop_peers": (c.hop_peers[0], c.hop_peers[0])}, "two links to the same key"),
        (
            "t",
            lambda c: {"hop_peers": tuple(changed(p, labels=("100.112.0.99",)) for p in c.hop_peers)},
            "direction of 2 neighbours",
        ),
        ("t", lambda _: {"hop_address": None}, "without a hop address"),
        ("t", lambda _: {"hop_address": "100.80.0.300"}, "no IPv4 address"),
        ("a", lambda _: {"circuits": ()}, "does not end here"),
        ("a", lambda c: {"circuits": (changed(c.circuits[0], class_number=5000),)}, "class number"),
        ("a", lambda c: {"circuits": (changed(c.circuits[0], mtu=1200),)}, "MTU 1200"),
        ("a", lambda c: {"circuits": (changed(c.circuits[0], labels=()),)}, "does not accept"),
        (
            "a",
            lambda c: {
                "circuits": (
                    c.circuits[0],
                    changed(
                        c.circuits[0],
                        circuit="default/vxlan",
                        public_key=fake_key("else"),
                        encryption=Encryption.HOP_BY_HOP,
                    ),
                )
            },
            "is VXLAN and shares class 1",
        ),
        (
            "a",
            lambda c: {"circuits": (c.circuits[0], changed(c.circuits[0], circuit="default/twin"))},
            "2 circuits to the same far end",
        ),
        (
            "a",
            lambda c: {
                "circuits": (
                    c.circuits[0],
                    changed(c.circuits[0], circuit="default/rival", public_key=fake_key("else")),
                )
            },
            "class 1 reaches",
        ),
    ],
    ids=[
        "one-interface-one-link-a-key",
        "an-address-lies-one-way",
        "links-need-a-hop-address",
        "addresses-are-addresses",
        "steering-needs-its-circuit",
        "class-number-fits-the-mark",
        "mtu-has-a-floor",
        "what-is-sent-on-is-accepted",
        "vxlan-shares-with-nobody",
        "a-class-has-one-circuit-to-a-far-end",
        "a-class-reaches-an-address-one-way",
    ],
)
def test_contradictions_are_refused(host: str, change: object, cause: str) -> None:
    config = configs()[host]
    with pytest.raises(ConfigRefused, match=cause) as caught:
        desired(changed(config, **change(config)), LOCAL)  # type: ignore[operator]
    assert caught.value.gateway == config.gateway


@pytest.mark.parametrize(
    ("route", "refused"),
    [
        ("100.64.7.0/24", True),
        ("100.64.0.0/10", True),
        ("100.112.0.1/32", True),
        ("0.0.0.0/0", False),
        ("0.0.0.0/1", False),
        ("10.0.0.0/8", False),
    ],
    ids=["inside", "around", "a-label", "default", "half-of-a-default", "elsewhere"],
)
def test_overlap_with_routes_of_others(route: str, refused: bool) -> None:
    assert bool(overlaps(configs()["a"], [(route, f"{route} dev eth0")])) is refused


def test_foreign_routes_are_those_of_others_that_lead_somewhere() -> None:
    items = [
        {"type": "1", "dst": "100.64.9.0/24", "dev": "tailscale0", "protocol": "3", "table": "52"},
        {"type": "7", "dst": "100.64.0.0/12", "protocol": "152"},
        {"type": "7", "dst": "100.64.0.0/10", "protocol": "4"},
        {"type": "2", "dst": "100.64.1.1", "dev": "fm-hop", "protocol": "2", "table": "255"},
        {"type": "2", "dst": "100.70.0.1", "dev": "eth1", "protocol": "2", "table": "255"},
        {"type": "2", "dst": "127.0.0.0/8", "dev": "lo", "protocol": "2", "table": "255"},
    ]
    assert [prefix for prefix, _ in parse_foreign(items, NAMES)] == ["100.64.9.0/24", "100.70.0.1/32"]


def test_routes_and_rules_are_read_as_ip_prints_them() -> None:
    assert parse_routes(
        [
            {"type": "7", "dst": "default", "table": "52001", "metric": 4_000_000_000, "flags": []},
            {"dst": "100.80.0.3", "dev": "fm-hop", "scope": "253", "prefsrc": "100.80.0.2", "flags": []},
        ]
    ) == {
        Route("0.0.0.0/0", table=52001, metric=4_000_000_000),
        Route("100.80.0.3/32", "fm-hop", "100.80.0.2"),
    }
    assert parse_rules(
        [
            {"priority": 0, "src": "all", "table": "255"},
            {"priority": 5200, "oif": "fm-c1", "oif_detached": None, "table": "52001", "protocol": "152"},
            {"priority": 5200, "fwmark": "0x20000", "fwmask": "0xfff0000", "table": "52001", "protocol": "152"},
            {"priority": 9, "fwmark": "0x1", "table": "52", "protocol": "3"},
        ]
    ) == {Rule(52001, device="fm-c1"), Rule(52001, mark=0x20000)}
    assert route_line("replace", Route("100.80.0.3/32", "fm-hop", "100.80.0.2")) == (
        "route replace 100.80.0.3/32 table 254 proto 152 dev fm-hop scope link src 100.80.0.2"
    )


def test_a_table_is_replaced_in_one_transaction_that_keeps_its_counters() -> None:
    table = desired(configs(label=6)["t"], LOCAL).tables[rulesets.HOP]
    seen = SeenTable("0123", frozenset({"forward", "old", "revision-0123"}), frozenset({"label_5", "stray"}))
    lines = nft.render(table, seen).splitlines()
    assert lines[:2] == ["add table ip foremesh_hop", "flush table ip foremesh_hop"]
    assert [line for line in lines if line.startswith("delete")] == [
        "delete chain ip foremesh_hop old",
        "delete chain ip foremesh_hop revision-0123",
        "delete counter ip foremesh_hop label_5",
    ]
    assert "add counter ip foremesh_hop label_6" in lines
    assert f"add chain ip foremesh_hop revision-{table.revision}" in lines


def test_seen_tables_are_ours_with_their_revision() -> None:
    items = [
        {"metainfo": {}},
        {"table": {"family": "ip", "name": "foremesh_hop"}},
        {"table": {"family": "ip", "name": "foremesh_edge"}},
        {"table": {"family": "ip6", "name": "foremesh_guard"}},
        {"table": {"family": "ip", "name": "filter"}},
        {"chain": {"family": "ip", "table": "foremesh_hop", "name": "revision-ab"}},
        {"chain": {"family": "ip", "table": "foremesh_edge", "name": "revision-ab"}},
        {"chain": {"family": "ip", "table": "foremesh_edge", "name": "revision-cd"}},
        {"counter": {"family": "ip", "table": "foremesh_hop", "name": "stray", "packets": 1, "bytes": 2}},
    ]
    assert nft.parse_tables(items, rulesets.OWNED) == {
        "foremesh_hop": SeenTable("ab", frozenset({"revision-ab"}), frozenset({"stray"})),
        "foremesh_edge": SeenTable("", frozenset({"revision-ab", "revision-cd"}), frozenset()),
    }


def test_strictness_of_all_interfaces_moves_down_to_each(tmp_path) -> None:
    for interface, value in (("all", 1), ("eth0", 0), ("eth1.5", 2), ("default", 0)):
        path = tmp_path / "net/ipv4/conf" / interface / "rp_filter"
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    move_down("rp_filter", tmp_path)
    found = {i: read_sysctl(f"net.ipv4.conf.{i}.rp_filter", tmp_path) for i in ("all", "default", "eth0", "eth1.5")}
    assert found == {"all": "0", "default": "1", "eth0": "1", "eth1.5": "2"}


def test_uplinks_dial_and_wait_on_no_port_of_their_own() -> None:
    """Two of them with the same port could not stand beside each other."""
    config, local = configs()["wa"], Local(public_keys=FAKE_KEYS["wa"])
    other = changed(config.uplinks[0], public_key="another key")
    interfaces = desired(changed(config, uplinks=(config.uplinks[0], other)), local).interfaces
    assert {name: one.listen_port for name, one in interfaces.items()} == {"fm-up0": 0, "fm-up1": 0}


def test_a_code_point_is_set_on_what_enters_a_circuit_and_on_what_its_tunnel_makes_of_it() -> None:
    config = configs()["a"]
    marked = changed(config, circuits=(changed(config.circuits[0], dscp=46),))
    (entering,) = (rule for rule in rules_of(rulesets.EDGE, "enter", marked) if "dscp" in rule)
    assert entering == 'oifname "fm-c1" ip daddr { 100.64.3.0/24 } ip dscp set 46'
    own, far = BLOCKS.circuit_pair(9)
    assert rules_of(rulesets.HOP, "send", marked)[0] == f"ip saddr {own} ip daddr {far} ip dscp set 46"
    for table, chain in ((rulesets.EDGE, "enter"), (rulesets.HOP, "send")):
        assert "dscp" not in " ".join(rules_of(table, chain, config))


@pytest.mark.parametrize(
    ("police_bps", "limit"),
    [
        (8e6, "1000000 bytes/second burst 131072 bytes"),
        (1e14, "12500000000000 bytes/second burst 131072 bytes"),
        (1.0, "1 bytes/second burst 131072 bytes"),
    ],
    ids=["bits-to-bytes", "a-hundred-terabit", "never-nothing"],
)
def test_what_exceeds_the_reservation_is_dropped(police_bps: float, limit: str) -> None:
    config = configs()["a"]
    policed = changed(config, circuits=(changed(config.circuits[0], police_bps=police_bps),))
    (sent,) = (c.rules for c in desired(policed, LOCAL).tables[rulesets.EDGE].chains if c.name.startswith("sent_"))
    assert sent[0] == f"limit rate over {limit} counter name {rulesets.police_counter(CIRCUIT)} drop"
    assert sent[1:] == (f"counter name {rulesets.pass_counter(CIRCUIT)}",)
    free = next(c.rules for c in desired(config, LOCAL).tables[rulesets.EDGE].chains if c.name.startswith("sent_"))
    assert free == sent[1:]
