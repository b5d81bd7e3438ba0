"""Writes a made-up mesh of any size as a folder that ``foremesh plan -f`` reads: manifests and links.csv, fully meshed.

    python benchmarks/made_mesh.py OUT --gateways 100 --workloads 100 --intents 500

The same arguments write the same bytes. Gateways lie scattered around large cities, round trips follow the distance,
and one pair in ten is far worse than a detour, so that there is something to find. Most Intents can be placed; one in
fifty asks for less latency than light needs.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAMESPACE = "made"
KM_PER_MS = 100.0
"""Kilometres of fibre that light crosses, there and back, in a millisecond of round trip."""
EARTH_RADIUS_KM = 6371.0
CITIES = (
    ("ams", "europe", 52.37, 4.90),
    ("fra", "europe", 50.11, 8.68),
    ("lon", "europe", 51.51, -0.13),
    ("mad", "europe", 40.42, -3.70),
    ("iad", "america", 38.95, -77.45),
    ("ord", "america", 41.88, -87.63),
    ("sfo", "america", 37.77, -122.42),
    ("gru", "america", -23.55, -46.63),
    ("sin", "asia", 1.35, 103.82),
    ("nrt", "asia", 35.68, 139.69),
    ("bom", "asia", 19.08, 72.88),
    ("syd", "asia", -33.87, 151.21),
)
PROVIDERS = ("cloud-a", "cloud-b", "cloud-c")
PRICE_BETWEEN_REGIONS = 0.02
"""US dollars per gigabyte between regions of one provider."""
PRICE_TO_INTERNET = (0.085, 0.087, 0.09, 0.12)
BAD_SHARE = 0.1
"""Share of pairs between providers that take a long way round and lose packets."""
HOPELESS_EVERY = 50
"""One Intent in so many cannot be placed."""


@dataclass(frozen=True)
class Gateway:
    name: str
    city: str
    region: str
    provider: str
    latitude: float
    longitude: float
    price: float


def gateways(count: int, chance: random.Random) -> list[Gateway]:
    made = []
    for number in range(count):
        city, continent, latitude, longitude = CITIES[number % len(CITIES)]
        made.append(
            Gateway(
                name=f"gw-{number:03}-{city}",
                city=city,
                region=f"{continent}-{city}",
                provider=PROVIDERS[number // len(CITIES) % len(PROVIDERS)],
                latitude=round(latitude + chance.uniform(-1.5, 1.5), 2),
                longitude=round(longitude + chance.uniform(-1.5, 1.5), 2),
                price=chance.choice(PRICE_TO_INTERNET),
            )
        )
    return made


def gateway_manifest(number: int, gateway: Gateway) -> str:
    return f"""apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {{name: {gateway.name}, namespace: {NAMESPACE}}}
spec:
  type: Gateway
  network: internet
  location:
    provider: {gateway.provider}
    region: {gateway.region}
    site: {gateway.name}
    latitude: {gateway.latitude}
    longitude: {gateway.longitude}
  egressPrice: "{gateway.price:g}"
  gateway:
    role: {"Transit" if number % 3 == 0 else "Core"}
    endpoint: 198.18.{number >> 8}.{number & 255}:51820
    capacity: 10G
"""


def workload_manifest(number: int, site: Gateway, services: int) -> str:
    return f"""apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata:
  name: app-{number:03}
  namespace: {NAMESPACE}
  labels: {{app: app-{number:03}}}
spec:
  type: Container
  location: {{provider: {site.provider}, region: {site.region}, site: {site.name}}}
  services:
    - {{name: service-{number % services:03}, port: 443}}
  workload:
    selector:
      matchLabels: {{app: app-{number:03}}}
"""


def intent_manifest(number: int, workloads: int, services: int, chance: random.Random) -> str:
    source = number % workloads
    service = chance.choice([one for one in range(services) if one != source % services])
    needs = [
        ("Latency", ("maxLatency: 400ms", "maxLoss: 2%")),
        ("Throughput", ("minBandwidth: 10M", "maxLoss: 2%")),
        ("Cost", ('maxEgressPrice: "0.3"',)),
        ("Balanced", ("maxLatency: 500ms", "minBandwidth: 2M")),
    ]
    profile, requirements = needs[number % len(needs)]
    if number % HOPELESS_EVERY == HOPELESS_EVERY - 1:
        profile, requirements = "Latency", ("maxLatency: 100us",)
    lines = "\n".join(f"    {requirement}" for requirement in requirements)
    return f"""apiVersion: foremesh.io/v1alpha1
kind: Intent
metadata: {{name: intent-{number:03}, namespace: {NAMESPACE}}}
spec:
  from: {{resource: app-{source:03}}}
  to: {{service: service-{service:03}}}
  requirements:
{lines}
  traffic:
    - {{protocol: TCP, ports: [{1000 + number}]}}
  profile: {profile}
  priority: {chance.randrange(3)}
"""


def distance_km(one: Gateway, other: Gateway) -> float:
    """Great-circle distance (haversine)."""
    here, there = math.radians(one.latitude), math.radians(other.latitude)
    east = math.radians(other.longitude - one.longitude)
    chord = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(chord))


def link_rows(made: list[Gateway], chance: random.Random) -> Iterator[str]:
    for index, one in enumerate(made):
        for other in made[index + 1 :]:
            same = one.provider == other.provider
            bad = not same and chance.random() < BAD_SHARE
            stretch = chance.uniform(2.0, 3.0) if bad else chance.uniform(1.2, 1.6)
            rtt_ms = max(0.5, distance_km(one, other) / KM_PER_MS * stretch)
            capacity_mbps = 300 if bad else 10_000 if same else 2_000
            for src, dst in ((one, other), (other, one)):
                loss = chance.uniform(0.2, 0.6) if bad else chance.uniform(0.01, 0.1)
                used_mbps = capacity_mbps * chance.uniform(0.1, 0.5)
                price = PRICE_BETWEEN_REGIONS if same else src.price
                yield f"{src.name},{dst.name},{rtt_ms:.2f},{loss:.3f}%,{used_mbps:.0f}M,{capacity_mbps}M,{price:g}"


def write(folder: Path, *, gateways_count: int, workloads: int, intents: int, seed: int) -> None:
    """Write the folder; files of the same names in it are overwritten."""
    chance = random.Random(seed)
    made = gateways(gateways_count, chance)
    sites = [made[number % len(made)] for number in range(workloads)]
    services = max(2, workloads // 2)
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "10-gateways.yaml": [gateway_manifest(number, gateway) for number, gateway in enumerate(made)],
        "20-workloads.yaml": [workload_manifest(number, site, services) for number, site in enumerate(sites)],
        "30-intents.yaml": [intent_manifest(number, workloads, services, chance) for number in range(intents)],
    }
    for name, documents in files.items():
        (folder / name).write_text("---\n".join(documents))
    attached = [f"app-{number:03},{site.name},{chance.uniform(0.2, 1):.2f},,,," for number, site in enumerate(sites)]
    rows = ["src,dst,rtt_ms,loss,throughput,capacity,price", *link_rows(made, chance), *attached]
    (folder / "links.csv").write_text("\n".join(rows) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write; made if it is not there")
    parser.add_argument("--gateways", type=int, default=100)
    parser.add_argument("--workloads", type=int, default=100)
    parser.add_argument("--intents", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if min(given.gateways, given.workloads) < 2 or given.intents < 0:
        parser.error("a mesh needs two gateways and two workloads at least")
    write(
        given.folder,
        gateways_count=given.gateways,
        workloads=given.workloads,
        intents=given.intents,
        seed=given.seed,
    )


if __name__ == "__main__":
    main()
