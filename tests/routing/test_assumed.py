"""Figures that nobody knows are told beside the cost, with what they count as: and that is what they cost."""

from __future__ import annotations

from typing import Any

import pytest

from foremesh.model.plan import Path
from foremesh.routing import select_path
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Router
from foremesh.routing.assumed import Assumptions
from routing.worlds import both, link, mesh, node


def told(graph: Any) -> tuple[Path, dict[str, str]]:
    path = select_path(graph, {"a": 0.0}, {"z": 0.0}).path
    assert path is not None
    return path, Assumptions(Router(Arrays(graph))).of(path)


def ends(**loads: float) -> tuple[Any, ...]:
    return tuple(node(id_, load=loads.get(id_)) for id_ in ("a", "b", "z"))


WELL = {"price": 0.01, "loss": 0.001}


@pytest.mark.parametrize(
    ("links", "loads", "said"),
    [
        pytest.param((link("a", "z", 5.0, **WELL),), {"a": 0.0, "z": 0.0}, {}, id="what-is-known-is-not-told"),
        pytest.param(
            (link("a", "z", 5.0, **WELL),),
            {},
            {"load": "load of a, z is unknown: each counts as 10% in use, as none is known"},
            id="no-load",
        ),
        pytest.param(
            (link("a", "z", 5.0, **WELL),),
            {"a": 0.0},
            {"load": "load of z is unknown: it counts as 10% in use, as all that are known are 0"},
            id="idle",
        ),
        pytest.param(
            (link("a", "z", 5.0, **WELL),),
            {"a": 0.2, "b": 0.7},
            {"load": "load of z is unknown: it counts as 70% in use, the worst that is known"},
            id="the-worst-of-the-graph",
        ),
        pytest.param(
            (link("a", "z", None, loss=None, free=None, price=None, jitter=None), *both("b", "z", 30.0, p90=50.0)),
            {"a": 0.1, "b": 0.1, "z": 0.1},
            {
                "latency": "round trip of a->z is unknown: it counts as 40.0 ms, the worst that is known",
                "bandwidth": "free bandwidth of a->z is unknown: it counts as 1G, the worst that is known",
                "loss": "loss of a->z is unknown: it counts as 0.10%, as all that are known are 0",
                "egressPrice": "egress price of a->z is unknown: it counts as 0.01 USD/GB, as all that are known are 0",
            },
            id="all-of-a-link",
        ),
        pytest.param(
            (link("a", "z", 5.0, **WELL), link("z", "b", 5.0, jitter=3.0, **WELL)),
            {"a": 0.0, "z": 0.0},
            {"jitter": "jitter of a->z is unknown: it counts as 3.0 ms, the worst that is known"},
            id="jitter-that-others-tell",
        ),
    ],
)
def test_what_is_unknown_is_told_with_what_it_counts_as(links: Any, loads: Any, said: dict[str, str]) -> None:
    assert told(mesh(*ends(**loads), links=links))[1] == said


def test_what_is_told_is_what_it_costs() -> None:
    """The same graph with those figures known costs the same."""
    unknown = mesh(
        *ends(b=0.7), links=(link("a", "z", None, loss=None, free=None, price=None), *both("b", "z", 30.0, p90=50.0))
    )
    known = mesh(
        *ends(a=0.7, b=0.7, z=0.7),
        links=(link("a", "z", 40.0, loss=0.001, free=1e9, price=0.01), *both("b", "z", 30.0, p90=50.0)),
    )
    path, said = told(unknown)
    assert [*said] == ["latency", "bandwidth", "loss", "egressPrice", "load"]
    assert path.terms == pytest.approx(told(known)[0].terms, rel=1e-3)
