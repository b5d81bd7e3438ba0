"""Topologies: what is read, what follows from coordinates, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from foremesh.files import InputError, read_bundle
from foremesh.model.link import LinkId
from foremesh.model.physics import FIBRE_KM_PER_MS
from foremesh.simulation import topology
from foremesh.simulation.places import MOST_LINKS, Place, Topology, TopologyLink, distance_km
from foremesh.simulation.regions import DEFAULT_PRICE_USD_PER_GB, egress_price


def test_geant_has_its_places_on_the_map_and_every_link_both_ways() -> None:
    found = topology.load("topozoo/Geant2012")
    assert len(found.places) == 37
    assert len(found.links) == 116
    assert {(link.dst, link.src): link.rtt_ms for link in found.links} == {
        (link.src, link.dst): link.rtt_ms for link in found.links
    }
    assert {link.risk_group for link in found.links} == {
        "--".join(sorted((link.src, link.dst))) for link in found.links
    }
    uk = next(place for place in found.places if place.name == "uk")
    assert (uk.latitude, uk.longitude) == (51.51, -0.13)


def test_no_round_trip_is_faster_than_light_in_fibre() -> None:
    for found in (topology.load("topozoo/Geant2012"), topology.from_regions()):
        place = {one.name: one for one in found.places}
        for link in found.links:
            kilometres = distance_km(place[link.src], place[link.dst])
            assert kilometres is not None
            assert link.rtt_ms > 2 * 0.99 * kilometres / FIBRE_KM_PER_MS
            assert link.rtt_ms < 2 + 2 * 3.2 * kilometres / FIBRE_KM_PER_MS


def test_the_same_name_gives_the_same_topology() -> None:
    assert topology.load("sndlib/germany50") == topology.load("sndlib/germany50")


def test_published_demands_come_along() -> None:
    found = topology.load("sndlib/germany50")
    names = {place.name for place in found.places}
    assert found.demands
    assert all({src, dst} <= names and rate > 0 for (src, dst), rate in found.demands.items())


def test_places_on_a_plane_are_not_put_on_the_map() -> None:
    assert all(place.latitude is None for place in topology.load("gabriel/25/0").places)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("topozoo/Geant2021", "topozoo/Geant2012"),
        ("geant2012", "topozoo/Geant2012"),
        ("sndlib/Germany50", "sndlib/germany50"),
        ("../../../etc/passwd", "topozoo/"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(asked: str, meant: str) -> None:
    with pytest.raises(InputError, match=meant):
        topology.load(asked)


def test_a_topology_too_large_is_refused() -> None:
    with pytest.raises(InputError, match=f"at most {MOST_LINKS}; use a smaller topology"):
        topology.load("caida/2024-08/3356")


@pytest.mark.parametrize(
    ("links", "cause"),
    [
        ([], "no two of its places are linked"),
        ([TopologyLink("a", "b", 1.0)], "has no way back"),
        ([TopologyLink("a", "b", 1.0), TopologyLink("b", "a", 1.0), TopologyLink("a", "b", 2.0)], "twice"),
        ([TopologyLink("a", "c", 1.0), TopologyLink("c", "a", 1.0)], "does not join two of its places"),
        ([TopologyLink("a", "b", 0.0), TopologyLink("b", "a", 1.0)], "make both positive"),
        ([TopologyLink("a", "b", float("nan")), TopologyLink("b", "a", 1.0)], "make both positive"),
    ],
    ids=["empty", "one-way", "repeated", "unknown-place", "no-time", "nan"],
)
def test_a_topology_that_makes_no_sense_is_refused(links: list[TopologyLink], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Topology("t", (Place("a"), Place("b")), tuple(links))


def test_regions_are_a_full_mesh_with_prices_of_their_providers() -> None:
    found = topology.from_regions()
    assert len(found.links) == len(found.places) * (len(found.places) - 1)
    price = {(link.src, link.dst): link.egress_price for link in found.links}
    assert price["aws-us-east-1", "aws-eu-west-1"] < price["aws-us-east-1", "gcp-us-central1"]
    assert price["aws-sa-east-1", "gcp-us-central1"] > price["aws-us-east-1", "gcp-us-central1"]


def test_traffic_within_a_region_is_free_and_unknown_providers_have_the_default() -> None:
    assert egress_price("aws", "us-east-1", "aws", "us-east-1") == 0
    assert egress_price("", "", "aws", "us-east-1") == DEFAULT_PRICE_USD_PER_GB
    assert egress_price("", "", "", "") == DEFAULT_PRICE_USD_PER_GB


def test_regions_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "regions.csv"
    path.write_text("name,latitude,longitude,provider\nZürich,47.4,8.5,aws\nNew York,40.7,-74.0,\n")
    found = topology.from_regions(path)
    assert [place.name for place in found.places] == ["new-york", "zurich"]
    assert found.links[0].rtt_ms == pytest.approx(100, rel=0.5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name,latitude,longitude\na,91,0\nb,0,0\n", ":2:"),
        ("name,latitude,longitude\na,1,0\nb,north,0\n", ":3:"),
        ("name,lat,lon\na,1,0\nb,2,0\n", ":2:"),
        ("name,latitude,longitude\na,1,0\na,2,0\n", ":3:"),
        ("name,latitude,longitude\na,1,0\n", "fewer than two"),
    ],
    ids=["beyond-the-pole", "no-number", "wrong-columns", "repeated", "one-place"],
)
def test_regions_that_are_none_are_refused_with_their_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "regions.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=line):
        topology.from_regions(path)


def test_a_link_given_one_way_is_the_same_on_the_way_back(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text(
        "src,dst,rtt_ms,capacity,price\nams,fra,8,1G,0.05\nfra,par,9,,\npar,fra,,2G,0.01\nns/x,ams,3,,\nams,ns/x,4,,\n"
    )
    links = {(link.src, link.dst): link for link in topology.from_links_csv(path).links}
    assert len(links) == 6
    assert links["ams", "fra"].rtt_ms == links["fra", "ams"].rtt_ms == 8
    assert links["fra", "ams"].capacity_bps == 1e9
    assert links["fra", "par"].rtt_ms == links["par", "fra"].rtt_ms == 9
    assert (links["par", "fra"].capacity_bps, links["par", "fra"].egress_price) == (2e9, 0.01)
    assert links["fra", "par"].egress_price == DEFAULT_PRICE_USD_PER_GB
    assert (links["ns-x", "ams"].rtt_ms, links["ams", "ns-x"].rtt_ms) == (3, 4)


def test_workloads_are_no_gateways(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("src,dst,rtt_ms\nfra,par,9.5\npar,fra,9.6\nshop,fra,0.4\n")
    assert [place.name for place in topology.from_links_csv(path).places] == ["fra", "par"]


def test_where_links_are_told_one_way_every_place_is_a_gateway(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("src,dst,rtt_ms\nfra,par,9.5\npar,lon,8.0\n")
    assert [place.name for place in topology.from_links_csv(path).places] == ["fra", "lon", "par"]


def test_a_link_without_a_round_trip_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("src,dst,rtt_ms\nams,fra,8\nfra,par,\n")
    with pytest.raises(InputError, match=r"links.csv:3: the link fra->par has no round trip"):
        topology.from_links_csv(path)


GATEWAY = """
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {{name: {name}, namespace: net}}
spec:
  type: Gateway
  network: {network}
  location: {{provider: {provider}, region: {region}{where}}}
  gateway: {{role: Core, endpoint: "203.0.113.1:51820", capacity: {capacity}}}
---
"""


def _gateway(name: str, where: str = "", *, capacity: str = "1G", provider: str = "aws", region: str = "r1") -> str:
    return GATEWAY.format(
        name=name, where=where, capacity=capacity, provider=provider, region=region, network="internet"
    )


def test_manifests_give_gateways_by_id_with_round_trips_measured_or_by_distance(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(
        _gateway("a", ", latitude: 52.4, longitude: 4.9", capacity="2G")
        + _gateway("b", ", latitude: 50.1, longitude: 8.7", region="r2")
        + _gateway("c", ", latitude: 48.9, longitude: 2.4", provider="onprem")
    )
    (tmp_path / "links.csv").write_text("src,dst,rtt_ms,capacity,price\na,b,12.5,300M,0.07\n")
    found = topology.from_bundle(read_bundle(tmp_path), tmp_path)
    assert found.name == tmp_path.name
    links = {(link.src, link.dst): link for link in found.links}
    assert {place.id for place in found.places} == {"net/a", "net/b", "net/c"}
    assert links["net/a", "net/b"].id == LinkId(src="net/a", dst="net/b")
    assert links["net/a", "net/b"].rtt_ms == links["net/b", "net/a"].rtt_ms == 12.5
    assert (links["net/a", "net/b"].capacity_bps, links["net/a", "net/b"].egress_price) == (300e6, 0.07)
    assert 4 < links["net/a", "net/c"].rtt_ms < 12
    assert links["net/a", "net/c"].capacity_bps == 1e9
    assert links["net/a", "net/c"].egress_price == egress_price("aws", "r1", "onprem", "r1")


def test_a_link_of_manifests_without_measurement_or_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(_gateway("a") + _gateway("b"))
    with pytest.raises(InputError, match="net/a->net/b/internet has no round trip") as refused:
        topology.from_bundle(read_bundle(tmp_path), tmp_path)
    assert refused.value.path == tmp_path
    (tmp_path / "links.csv").write_text("src,dst,rtt_ms\na,b,\n")
    with pytest.raises(InputError, match=r"give it rtt_ms in links\.csv") as refused:
        topology.from_bundle(read_bundle(tmp_path), tmp_path)
    assert refused.value.path == tmp_path / "links.csv"
