"""Rows of links.csv that cannot be used: what is said, and at which line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from files.folders import gateway, outcome, put, refused, small_mesh
from foremesh.files import InputError, read_links

FORMS = {
    "empty": ("", None, "is empty; begin it with the line src,dst,rtt_ms"),
    "blank": ("\n \n,\n", None, "is empty"),
    "column-missing": ("src,rtt_ms\nams,1\n", 1, "the column dst is missing; there are src, rtt_ms"),
    "column-misspelled": ("src,dst,rtt\nams,fra,1\n", 1, 'unknown column "rtt"; did you mean rtt_ms?'),
    "column-in-capitals": ("SRC,dst\nams,fra\n", 1, 'unknown column "SRC"; did you mean src?'),
    "column-unknown": ("src,dst,weather\nams,fra,1\n", 1, "remove it; the columns are src, dst, underlay"),
    "column-without-a-name": ("src,dst,\nams,fra,1\n", 1, 'unknown column ""'),
    "column-twice": ("src,dst,price,egress_price\nams,fra,1,1\n", 1, "the column price is there twice"),
    "semicolons": ("src;dst;rtt_ms\nams;fra;1\n", 1, 'the columns are separated by ";"'),
    "tabs": ("src\tdst\nams\tfra\n", 1, "the columns are separated by"),
    "field-too-many": ("src,dst,rtt_ms\nams,fra,1,5\n", 2, "has 4 fields, and the header names 3 columns"),
    "field-too-few": ("src,dst,rtt_ms\nams,fra\n", 2, "has 2 fields"),
    "quote-open": ('src,dst,rtt_ms\n"ams,fra,1\nfra,ams,1\n', 2, "this is no CSV"),
    "quote-inside": ('src,dst,rtt_ms\nams,fra,1\n"fra"x,ams,1\n', 3, "this is no CSV"),
    "src-empty": ("src,dst\n,fra\n", 2, "src is empty"),
    "loop": ("src,dst\n\nams,ams\n", 3, "the link leads from ams to itself"),
    "row-twice": ("src,dst,rtt_ms\nams,fra,1\nfra,ams,1\nams,fra,2\n", 4, "the link ams->fra is in line 2 already"),
    "binary": (b"src,dst\n\xff\xfe\x00", 2, "holds the byte 0xff"),
    "long-field": (f"src,dst\n{'a' * 200_000},fra\n", 2, "this is no CSV: field larger than field limit"),
}

FIGURES = {
    "latency-negative": ("rtt_ms", "-5", 'rtt_ms is "-5", which is negative; write the round trip in milliseconds'),
    "latency-minus-zero": ("rtt_ms", "-0", "which is negative"),
    "latency-nan": ("rtt_ms", "NaN", 'rtt_ms is "NaN", which is no number'),
    "latency-infinite": ("rtt_ms", "inf", "which is no number"),
    "latency-overflowing": ("rtt_ms", "1e999", "no number that can be meant"),
    "latency-with-a-unit": ("rtt_ms", "12ms", "or leave the field empty if it is unknown"),
    "latency-with-a-comma": ("rtt_ms", '"12,5"', "for instance 12.5"),
    "latency-in-words": ("rtt_ms", "unknown", "leave the field empty if it is unknown"),
    "latency-in-microseconds": ("rtt_ms", "60001", "which is more than a minute"),
    "latency-in-digits-of-another-script": ("rtt_ms", "\u0661\u0662", "which is no number"),
    "jitter-negative": ("jitter_ms", "-1", "which is negative"),
    "jitter-in-microseconds": ("jitter_ms", "70000", "which is more than a minute"),
    "loss-over-one": ("loss", "5", 'loss is "5", which is more than everything'),
    "loss-over-everything": ("loss", "101%", "which is more than everything"),
    "loss-negative": ("loss", "-0.1%", "which is negative"),
    "throughput-in-bytes": ("throughput", "20MB", "which is no rate"),
    "throughput-negative": ("throughput", "-20M", "which is negative"),
    "throughput-nan": ("throughput", "nan", "which is no rate"),
    "throughput-beyond": ("throughput", "101T", "more than 100T"),
    "capacity-without-suffix": ("capacity", "200", "less than 1k bits per second"),
    "capacity-zero": ("capacity", "0", "less than 1k bits per second"),
    "price-negative": ("price", "-1", "which is negative"),
    "price-per-terabyte": ("egress_price", "1001", "more than 1000 US dollars per gigabyte"),
    "price-with-currency": ("price", "$0.09", "as a plain number, for instance 0.09"),
}

REFERENCES = {
    "unknown": ("amz,fra,1,", 'no manifest has a resource "amz"; did you mean ams?'),
    "unknown-and-unlike": ("x9,fra,1,", 'no manifest has a resource "x9"; declare it, or use one of'),
    "same-by-id": ("mesh/ams,ams,1,", "are the same gateway, mesh/ams"),
    "same-link-by-id": ("ams,mesh/fra,1,", "the link mesh/ams->mesh/fra/internet is in line 2 already"),
    "zero": ("ams,lon,0,", "no link has a round trip of zero; leave the field empty if it is unknown"),
    "ambiguous": ("twin,fra,1,", '"twin" is the name of 2 resources: mesh/twin, other/twin; write namespace/name'),
    "edges": ("e1,e2,1,", "e1 and e2 are both Edge gateways, which are never linked"),
    "no-endpoint": ("e1,quiet,1,", "neither e1 nor quiet has an endpoint to dial"),
    "networks": ("ams,far,1,", "ams is on the network internet and far on mpls, so they cannot be linked"),
    "underlay-of-several": ("two,duo,1,", "two and duo have 2 links, over internet, mpls; give a row for each"),
    "underlay-of-none": ("two,duo,1,lte", "two and duo are on the network internet, mpls, not on lte"),
    "underlay": ("ams,lon,1,mpls", "ams and lon are on the network internet, not on mpls; write internet as underlay"),
    "workloads": ("web,db,1,", "web and db are both no gateways"),
    "attached-elsewhere": ("web,fra,1,", "fra is not at ams, the site of web; remove the row"),
    "attached-nowhere": ("lost,fra,1,", "shop/lost names no site"),
    "attached-over-an-underlay": ("web,ams,1,internet", "is no link of the mesh; give rtt_ms alone"),
    "attached-twice": ("ams,web,2,", "line 3 gives another round trip between web and ams"),
}


@pytest.mark.parametrize(("content", "line", "said"), FORMS.values(), ids=FORMS)
def test_what_is_no_table_of_links(tmp_path: Path, content: str | bytes, line: int | None, said: str) -> None:
    error = refused(small_mesh(tmp_path, {"links.csv": content}))
    assert (error.path, error.line) == (tmp_path / "links.csv", line)
    assert said in str(error)


@pytest.mark.parametrize(("column", "text", "said"), FIGURES.values(), ids=FIGURES)
def test_what_is_no_figure(tmp_path: Path, column: str, text: str, said: str) -> None:
    path = put(tmp_path, {"links.csv": f"src,dst,{column}\nA,B,\nB,A,{text}\n"}) / "links.csv"
    with pytest.raises(InputError) as caught:
        read_links(path)
    assert caught.value.line == 3
    assert said in str(caught.value)


@pytest.mark.parametrize(("row", "said"), REFERENCES.values(), ids=REFERENCES)
def test_what_the_manifests_do_not_have(tmp_path: Path, row: str, said: str) -> None:
    more = [
        gateway("twin"),
        gateway("twin", namespace="other"),
        gateway("far", network="mpls"),
        *(gateway(name, role="Edge", endpoint=False) for name in ("e1", "e2")),
        gateway("quiet", endpoint=False),
        *(
            gateway(name, underlays=f"[{{name: mpls, endpoint: '{name}.example.com:51824'}}]")
            for name in ("two", "duo")
        ),
        "apiVersion: foremesh.io/v1alpha1\nkind: MeshResource\nmetadata: {name: lost, namespace: shop}\n"
        "spec: {type: Container, workload: {selector: {}}}\n",
    ]
    links = f"src,dst,rtt_ms,underlay\nams,fra,1,\nweb,ams,1,\n{row}\n"
    error = refused(small_mesh(tmp_path, {"more.yaml": "---\n".join(more), "links.csv": links}))
    assert error.line == 4
    assert said in str(error)


def test_the_same_attachment_both_ways_is_no_mistake(tmp_path: Path) -> None:
    assert outcome(small_mesh(tmp_path, {"links.csv": "src,dst,rtt_ms\nweb,ams,1\nams,web,1\n"})) == ""


WORD = st.sampled_from(
    ["ams", "fra", "mesh/lon", "web", "db", "", "0", "-1", "1e9", "5%", "nan", '"', "\x00", "é", "internet"]
)


@settings(max_examples=200)
@given(
    header=st.lists(st.sampled_from(["src", "dst", "rtt_ms", "loss", "capacity", "price", "underlay"]), unique=True),
    rows=st.lists(st.lists(WORD | st.text(max_size=5), min_size=2, max_size=5), max_size=4),
)
def test_any_table_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, header: list[str], rows: list[list[str]]
) -> None:
    text = "\n".join(",".join(fields) for fields in [header, *rows])
    folder = small_mesh(tmp_path_factory.mktemp("mesh"), {"links.csv": text.encode(errors="surrogatepass")})
    assert outcome(folder).isprintable()
