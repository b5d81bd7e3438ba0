"""Pictures say what is known and what is not, are the same every time, and no name breaks out of them."""

import html as html_module
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from drawing import scenes
from foremesh import drawing
from foremesh.cli.main import cli
from foremesh.drawing import DrawnWay, MeshPicture
from foremesh.drawing.layout import TALL, apart, lay_out, spacing

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/data/output"
EXAMPLE = ROOT / "manifests/examples/three-clouds"
FORMATS = {"dot": drawing.dot, "mermaid": drawing.mermaid, "svg": drawing.svg, "html": drawing.html}
SVG = "{http://www.w3.org/2000/svg}"

each_format = pytest.mark.parametrize("draw", FORMATS.values(), ids=FORMATS)


@pytest.mark.parametrize("name", ["dot", "mermaid", "svg"])
def test_small_mesh_is_drawn_as_reviewed(name: str) -> None:
    text = FORMATS[name](scenes.small(), title="Small").rstrip("\n") + "\n"
    path = GOLDEN / f"graph-small.{name}"
    if os.environ.get("FOREMESH_WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} differs; if that is meant, run again with FOREMESH_WRITE_GOLDEN=1"


@each_format
def test_order_of_the_input_does_not_matter(draw: Callable[..., str]) -> None:
    assert draw(scenes.small(shuffled=True), title="Small") == draw(scenes.small(), title="Small")


@each_format
@pytest.mark.parametrize("said", ["unknown", "observed 8.3 ms", "9.0 ms (p90 10.8 ms)", "12.5 ms (p90 15.0 ms)"])
def test_figures_are_told_and_unknown_ones_said_to_be(draw: Callable[..., str], said: str) -> None:
    assert said in draw(scenes.small(), title="Small")


@each_format
def test_words_for_what_was_observed_are_left_out_where_nobody_can_have_observed(draw: Callable[..., str]) -> None:
    mesh = scenes.small()
    edges = [
        replace(edge, there=edge.there and DrawnWay(edge.there.link), back=edge.back and DrawnWay(edge.back.link))
        for edge in mesh.edges
    ]
    text = draw(replace(mesh, edges=tuple(edges)), title="Small")
    assert "round trip 9.0 ms" in text or "9.0 ms (p90" in text
    assert "observed" not in text
    assert "in use" not in text


@each_format
@pytest.mark.parametrize(
    "said",
    ["orders", "late", "falls short: maxLatency: asked 5ms", "never: not placed|never.*not placed", "near", "mail"],
)
def test_every_intent_is_told_with_its_reason(draw: Callable[..., str], said: str) -> None:
    assert re.search(said, draw(scenes.small(), title="Small"))


def test_both_directions_are_one_edge_and_each_underlay_its_own() -> None:
    edges = {edge.key: edge for edge in scenes.small().edges}
    assert len(edges) == 5
    one_way = edges["mesh/lon", "mesh/nyc", "internet"]
    assert one_way.there is not None
    assert one_way.back is None
    assert {key[2] for key in edges if key[:2] == ("mesh/fra", "mesh/lon")} == {"internet", "fibre"}


def test_placements_of_one_circuit_are_one_line() -> None:
    mesh = scenes.small()
    assert [one.intents for one in mesh.circuits] == [("shop/late",), ("shop/orders",)]
    assert mesh.circuits[1].standby is not None
    assert mesh.local == ("shop/near",)
    assert [one.intent for one in mesh.unplaced] == ["shop/gone", "shop/never"]


@each_format
def test_where_a_circuit_falls_over_to_is_said(draw: Callable[..., str]) -> None:
    text = html_module.unescape(draw(scenes.small(), title="Small"))
    assert re.search(r"[Ff]alls over to", text)


def without(mesh: MeshPicture, **what: object) -> MeshPicture:
    return replace(mesh, circuits=tuple(replace(one, **what) for one in mesh.circuits))


@pytest.mark.parametrize("draw", [drawing.svg, drawing.html])
@pytest.mark.parametrize(
    ("mesh", "absent"),
    [
        (without(scenes.small(), standby=None), {"falls over"}),
        (replace(scenes.small(), circuits=()), {"falls over", "path of a circuit", "median round trips"}),
        (replace(scenes.small(), edges=()), {"link without a circuit", "median round trips"}),
        (replace(scenes.small(), gateways=scenes.small().gateways[:2]), {"transit gateway", "edge gateway"}),
    ],
    ids=["no-standby", "no-circuit", "no-link", "core-only"],
)
def test_legend_has_what_is_drawn_and_nothing_else(
    draw: Callable[..., str], mesh: MeshPicture, absent: set[str]
) -> None:
    every = {"core gateway", "transit gateway", "edge gateway", "path of a circuit", "falls over"}
    every |= {"link without a circuit", "median round trips"}
    key = legend_of(draw, mesh)
    assert {said for said in every if said not in key} == absent


def legend_of(draw: Callable[..., str], mesh: MeshPicture) -> str:
    """The words of the legend, without those of circuits."""
    if draw is drawing.html:
        return re.search(r"<figcaption.*?</figcaption>", draw(mesh), re.DOTALL)[0]
    bare = replace(mesh, local=(), unplaced=())
    below = list(ElementTree.fromstring(draw(bare)))[-1]
    rows = [one for one in below if one.find(f"{SVG}title") is None]
    return " ".join(text for one in rows for text in one.itertext())


@pytest.mark.parametrize(
    ("mesh", "said", "unsaid"),
    [
        (scenes.large(12), "Not to scale", "No map"),
        (scenes.large(12, located=False), "No map", "Not to scale"),
        (scenes.small(), "Stretched from north to south", "moved apart"),
    ],
    ids=["crowds", "nowhere", "tall"],
)
@pytest.mark.parametrize("draw", [drawing.svg, drawing.html])
def test_picture_says_how_far_it_is_a_map(draw: Callable[..., str], mesh: MeshPicture, said: str, unsaid: str) -> None:
    text = draw(mesh)
    assert said in text
    assert unsaid not in text


def test_map_that_is_true_to_scale_says_nothing() -> None:
    places = {"a": (40.0, -20.0), "b": (45.0, 0.0), "c": (50.0, 20.0)}
    layout = lay_out(standing(places))
    assert layout.note in ("", TALL)
    gaps = np.diff([line.at for line in layout.meridians])
    assert gaps == pytest.approx(gaps[0])


def standing(places: dict[str, tuple[float, float]]) -> MeshPicture:
    """Gateways at latitudes and longitudes, and no link."""
    resources = {f"mesh/{name}": scenes.gateway(name, latitude=y, longitude=x) for name, (y, x) in places.items()}
    nodes = tuple(scenes.Node(id=id_, role=scenes.Role.CORE) for id_ in resources)
    plan = scenes.Plan(made_at_s=0, placements=())
    return scenes.picture(scenes.MeshGraph(nodes=nodes, links=()), plan, resources=resources)


CROWDED = standing(
    {
        "ireland": (53.3, -6.3),
        "london": (51.5, -0.1),
        "belgium": (50.4, 3.8),
        "amsterdam": (52.4, 4.9),
        "frankfurt": (50.1, 8.7),
        "munich": (48.1, 11.6),
        "iowa": (41.3, -95.9),
        "oregon": (45.6, -121.2),
        "singapore": (1.35, 103.8),
    }
)
"""Europe enlarged, next to an empty stretch."""


@pytest.mark.parametrize(("mesh", "most"), [(scenes.small(), 0.1), (CROWDED, 5.0)], ids=["true", "warped"])
def test_numbers_on_the_graticule_are_those_of_what_stands_there(mesh: MeshPicture, most: float) -> None:
    """Where crowds are enlarged, the map bends between the lines; a gateway is still between its own."""
    layout = lay_out(mesh)
    parallels = layout.parallels[::-1]  # pixels count downwards
    for one in mesh.gateways:
        x, y = layout.at[one.node.id]
        east = np.interp(x, [line.at for line in layout.meridians], [degrees(line.text) for line in layout.meridians])
        north = np.interp(y, [line.at for line in parallels], [degrees(line.text) for line in parallels])
        assert (east, north) == pytest.approx((one.longitude, one.latitude), abs=most)


def degrees(text: str) -> float:
    return float(text.rstrip("°ENSW")) * (-1 if text[-1] in "WS" else 1)


def test_active_is_solid_and_standby_dashed() -> None:
    root = ElementTree.fromstring(drawing.svg(scenes.small()))
    looks = [
        sorted(one.get("class", "") for one in group.iter(f"{SVG}path"))
        for group in root.iter(f"{SVG}g")
        if group.get("class") == "circuit"
    ]
    assert looks == [["active c0", "active c0"], ["active c1", "standby c1", "standby c1"]]
    assert "style=dashed" in drawing.dot(scenes.small())
    assert "stroke-dasharray" in drawing.mermaid(scenes.small())


@pytest.mark.parametrize("draw", [drawing.svg, drawing.html])
def test_hostile_names_stay_text(draw: Callable[..., str]) -> None:
    text = draw(scenes.hostile(), title=scenes.HOSTILE)
    assert "alert(1)" in text
    scenes.assert_harmless(text, scripts=1 if draw is drawing.html else 0)
    # A page is no XML for its first line and its empty elements; its picture is.
    ElementTree.fromstring(re.search(r"<svg.*?</svg>", text, re.DOTALL)[0])


def test_hostile_names_stay_text_in_mermaid() -> None:
    text = drawing.mermaid(scenes.hostile(), title=scenes.HOSTILE)
    assert "script" in text
    quoted = re.findall(r'"(.*?)"', text)
    assert len(quoted) >= 5
    for said in quoted:
        assert not set(re.sub(r"<br/>|#\d+;", "", said)) & set("<>\"'`{}&[]#;|"), said
    # What is left without them is the structure, where names have no place: comments keep only their harmless signs.
    assert not set(re.sub(r'".*?"|^.*linkStyle.*$|^.*style .*$', "", text, flags=re.MULTILINE)) & set("`'&;")


@pytest.mark.graphviz
@pytest.mark.parametrize(
    "mesh",
    [scenes.small(), scenes.hostile(), scenes.large(30), MeshPicture((), ())],
    ids=["small", "hostile", "large", "none"],
)
def test_graphviz_reads_dot_and_keeps_every_gateway(mesh: MeshPicture) -> None:
    text = drawing.dot(mesh, title=scenes.HOSTILE)
    done = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "syntax error" not in done.stderr
    drawn = [one for one in ElementTree.fromstring(done.stdout).iter(f"{SVG}g") if one.get("class") == "node"]
    assert len(drawn) == len(mesh.gateways)


@each_format
def test_mesh_without_anything_is_drawn(draw: Callable[..., str]) -> None:
    assert "Nothing" in draw(MeshPicture((), ()), title="Nothing")


@pytest.mark.parametrize("located", [True, False])
@pytest.mark.parametrize("count", [1, 2, 12, 100])
def test_gateways_stand_apart_on_the_canvas(count: int, located: bool) -> None:
    layout = lay_out(scenes.large(count, located=located, circuits=0))
    assert bool(layout.meridians) == bool(layout.parallels) == located
    assert len(layout.at) == count
    for x, y in layout.at.values():
        assert 0 < x < layout.width
        assert 0 < y < layout.height
    # The last nudges are not worth their time: nearly as far apart as symbols need is enough.
    assert all(np.hypot(a - c, b - d) > 0.6 * spacing(count) for (a, b), (c, d) in combinations(layout.at.values(), 2))


def test_map_keeps_east_right_and_north_up() -> None:
    at = lay_out(scenes.small()).at
    assert at["mesh/nyc"][0] < at["mesh/lon"][0] < at["mesh/ams"][0] < at["mesh/fra"][0]
    assert at["mesh/nyc"][1] > at["mesh/fra"][1] > at["mesh/lon"][1] > at["mesh/ams"][1]


def test_map_is_cut_where_the_mesh_leaves_room() -> None:
    """Tokyo, Honolulu and San Francisco stay together: the Atlantic is the wider gap."""
    longitudes = {"tokyo": 139.7, "honolulu": -157.9, "francisco": -122.4}
    resources = {
        f"mesh/{name}": scenes.gateway(name, latitude=30.0, longitude=east) for name, east in longitudes.items()
    }
    nodes = tuple(scenes.Node(id=id_, role=scenes.Role.CORE) for id_ in resources)
    mesh = scenes.picture(
        scenes.MeshGraph(nodes=nodes, links=()), scenes.Plan(made_at_s=0, placements=()), resources=resources
    )
    at = lay_out(mesh).at
    assert at["mesh/tokyo"][0] < at["mesh/honolulu"][0] < at["mesh/francisco"][0]


def test_gateways_in_one_place_are_parted() -> None:
    at = apart(np.full((5, 2), 300.0), 40.0, 1000.0, 600.0)
    assert min(np.hypot(*(at[a] - at[b])) for a, b in combinations(range(5), 2)) > 30


def test_distances_follow_round_trips_where_nobody_says_where_gateways_are() -> None:
    links = [scenes.link("a", "b", 5.0), scenes.link("b", "c", 80.0), scenes.link("a", "c", 82.0)]
    nodes = tuple(scenes.Node(id=f"mesh/{name}", role=scenes.Role.CORE) for name in "abc")
    mesh = scenes.picture(scenes.MeshGraph(nodes=nodes, links=tuple(links)), scenes.Plan(made_at_s=0, placements=()))
    at = {name: np.array(lay_out(mesh).at[f"mesh/{name}"]) for name in "abc"}
    assert np.hypot(*(at["a"] - at["b"])) < 0.4 * np.hypot(*(at["b"] - at["c"]))


def test_hundred_gateways_stay_within_what_tools_can_read() -> None:
    mesh = scenes.large(100, circuits=120)
    assert len(drawing.svg(mesh)) < 1_000_000
    text = drawing.mermaid(mesh)
    assert len(text) < 50_000
    assert len(re.findall(r"^  g\d+ (?:==>|-\.)", text, re.MULTILINE)) < 500
    assert "left out" in text


@pytest.mark.parametrize("name", FORMATS)
def test_command_draws_the_example(name: str, tmp_path: Path) -> None:
    out = tmp_path / f"mesh.{name}"
    done = CliRunner().invoke(cli, ["graph", "-f", str(EXAMPLE), "-o", name, "--out", str(out)])
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert "a-frankfurt" in text
    assert re.search("live-stock-from-asia.*not placed", text, re.DOTALL)
    assert done.stdout == ""
    assert "observed" not in text, "a file that says how long links take is no observation"


def test_command_tells_what_a_history_observed(tmp_path: Path) -> None:
    for file in EXAMPLE.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    rows = [f"a-frankfurt->a-ireland,{1_900_000_000 + 60 * minute},{11 + minute}" for minute in range(5)]
    (tmp_path / "history.csv").write_text("\n".join(["series,time,value", *rows, ""]))
    done = CliRunner().invoke(cli, ["graph", "-f", str(tmp_path), "-o", "svg"])
    assert done.exit_code == 0, done.output
    assert "observed 15.0 ms" in done.stdout


def test_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["graph", "-f", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nowhere" in done.stderr
