"""A mesh of a hundred sites is read in less time than anybody waits for."""

import time
from pathlib import Path

import pytest

from files.folders import gateway, put
from foremesh.files import read_bundle

SITES, INTENTS = 100, 500

MOST_S = 3.0
"""Seconds of processor time, measured 0.4: what grows with the square of the rows takes far longer than this."""

WORKLOAD = """\
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {{name: w{number}, namespace: shop, labels: {{app: web}}}}
spec:
  type: Container
  location: {{site: g{number}}}
  workload: {{selector: {{matchLabels: {{app: web}}}}}}
"""

INTENT = """\
apiVersion: foremesh.io/v1alpha1
kind: Intent
metadata: {{name: intent-{number}, namespace: shop}}
spec:
  from: {{resource: w{source}}}
  to: {{resource: w{destination}}}
  requirements:
    maxLatency: 40ms
    minBandwidth: 50M
    maxLoss: 0.5%
  traffic:
    - {{protocol: TCP, ports: [5432]}}
  profile: Latency
"""


def documents() -> list[str]:
    found = [gateway(f"g{number}") for number in range(SITES)]
    found += [WORKLOAD.format(number=number) for number in range(SITES)]
    found += [
        INTENT.format(number=number, source=number % SITES, destination=(number * 7 + 1) % SITES)
        for number in range(INTENTS)
    ]
    return found


@pytest.mark.parametrize("files", [1, SITES * 2 + INTENTS], ids=["one-file", "many-files"])
def test_a_large_mesh(tmp_path: Path, files: int) -> None:
    texts = documents()
    if files == 1:
        put(tmp_path, {"all.yaml": "---\n".join(texts)})
    else:
        put(tmp_path, {f"{number}.yaml": text for number, text in enumerate(texts)})
    rows = [
        f"g{src},mesh/g{dst},{10 + abs(src - dst)},0.1%,1G"
        for src in range(SITES)
        for dst in range(SITES)
        if src != dst
    ]
    put(tmp_path, {"links.csv": "\n".join(["src,dst,rtt_ms,loss,capacity", *rows])})
    took_s = []
    for _ in range(3):
        started = time.process_time()
        bundle = read_bundle(tmp_path)
        took_s.append(time.process_time() - started)
    assert len(bundle.declared.links) == SITES * (SITES - 1)
    assert len(bundle.declared.intents) == INTENTS
    assert min(took_s) < MOST_S
