"""An agent's configuration: what cannot work ends it at the start, in one line, and before it touches the host."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from foremesh.agent.settings import load
from foremesh.cli.main import cli


def ran(folder: Path, text: str, command: str = "run") -> Result:
    path = folder / "agent.yaml"
    path.write_text(f"stateDir: {folder / 'state'}\n{text}")
    return CliRunner().invoke(cli, ["agent", command, "--config", str(path)])


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param("hopPort: 0", "hopPort is 0", id="hop-port-0"),
        pytest.param("hopPort: -5", "hopPort is -5", id="hop-port-negative"),
        pytest.param("hopPort: 99999", "hopPort is 99999", id="hop-port-too-large"),
        pytest.param("hopPort: 65534", "rotationPort is 65536", id="no-port-left-for-rotation"),
        pytest.param("rotationPort: 0", "rotationPort is 0", id="rotation-port-0"),
        pytest.param("attachPort: 70000", "attachPort is 70000", id="attach-port-too-large"),
        pytest.param("attachPort: 51820", "UDP port 51820 is to be used twice", id="port-twice"),
        pytest.param("underlays: [{name: mpls, port: 0}]", "port of underlay 'mpls' is 0", id="underlay-port-0"),
        pytest.param(
            "underlays: [{name: mpls, endpoint: x}]", "endpoint of underlay 'mpls' 'x'", id="underlay-endpoint"
        ),
        pytest.param("probeInterval: 0s", "probeInterval is 0 s", id="probe-interval"),
        pytest.param("probeTimeout: 0s", "probeTimeout is 0 s", id="probe-timeout"),
        pytest.param("mtuProbeInterval: 0s", "mtuProbeInterval is 0 s", id="mtu-probe-interval"),
        pytest.param("capacityProbe: 0s", "capacityProbe is 0 s", id="capacity-probe"),
        pytest.param("beaconInterval: 0s", "beaconInterval is 0 s", id="beacon-interval"),
        pytest.param("reconcileInterval: 0s", "reconcileInterval is 0 s", id="reconcile-interval"),
        pytest.param("apiUrl: foremesh-api", "apiUrl 'foremesh-api'", id="url-without-a-scheme"),
        pytest.param("apiUrl: foremesh-api:8443", "apiUrl", id="url-whose-host-looks-like-a-scheme"),
        pytest.param("apiUrl: ftp://h", "apiUrl", id="url-of-another-scheme"),
        pytest.param("apiUrl: https://", "apiUrl", id="url-without-a-host"),
        pytest.param("apiUrl: https://h:99999", "apiUrl", id="url-port-too-large"),
        pytest.param("apiUrl: https://h:0", "apiUrl", id="url-port-0"),
        pytest.param("apiUrl: https://h:abc", "apiUrl", id="url-port-no-number"),
        pytest.param("apiUrl: 'https://[::1'", "apiUrl", id="url-half-a-bracket"),
        pytest.param("apiUrl: https://a..b", "apiUrl", id="url-host-that-no-name-server-knows"),
        pytest.param('apiUrl: "https://a\\nb"', "apiUrl", id="url-with-a-line-break"),
        pytest.param("apiUrl: http://198.51.100.1:8443", "give the token away", id="http-to-another-host"),
        pytest.param("apiUrl: HTTP://198.51.100.1:8443", "give the token away", id="http-in-upper-case"),
        pytest.param("endpoint: notaport", "endpoint 'notaport'", id="endpoint-without-a-port"),
        pytest.param("endpoint: 'h:0'", "endpoint 'h:0'", id="endpoint-port-0"),
        pytest.param("endpoint: ':51820'", "endpoint ':51820'", id="endpoint-without-a-host"),
        pytest.param("endpoint: 'h:1/x'", "endpoint 'h:1/x'", id="endpoint-with-a-path"),
        pytest.param("attachEndpoint: 'h:99999'", "attachEndpoint", id="attach-endpoint"),
        pytest.param("metricsEndpoint: h", "metricsEndpoint", id="metrics-endpoint"),
        pytest.param("metricsListen: '9466'", "metricsListen", id="metrics-listen"),
        pytest.param("ownAddress: banana", "ownAddress 'banana'", id="own-address"),
        pytest.param("ownAddress: fd00::1", "ownAddress", id="own-address-ipv6"),
        pytest.param("resource: justname", "resource 'justname'", id="resource-without-a-namespace"),
        pytest.param("resource: a/b/c", "resource 'a/b/c'", id="resource-with-two-slashes"),
        pytest.param("caFile: /nowhere/ca.crt", "caFile /nowhere/ca.crt", id="ca-file-missing"),
        pytest.param("caFile: /dev/null", "caFile /dev/null", id="ca-file-empty"),
        pytest.param("{", "expected", id="no-yaml"),
        pytest.param("hopPrt: 1", "hopPrt", id="unknown-field"),
    ],
)
def test_what_cannot_work_is_2_and_one_line(tmp_path: Path, text: str, cause: str) -> None:
    named = "" if text.startswith("resource") else "resource: shop/ams-1\n"
    found = ran(tmp_path, named + text)
    assert found.exit_code == 2
    (line,) = found.stderr.splitlines()
    assert line.startswith("foremesh agent run: agent configuration")
    assert cause in line
    assert not (tmp_path / "state").exists(), "no keys were made"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="defaults"),
        pytest.param("apiUrl: http://127.0.0.1:8443", id="http-to-this-host"),
        pytest.param("apiUrl: http://localhost", id="http-to-localhost"),
        pytest.param("apiUrl: http://198.51.100.1\nplainHttp: true", id="http-that-was-asked-for"),
        pytest.param("apiUrl: HTTPS://[fd00::1]:8443/mesh", id="upper-case-ipv6-and-a-path"),
        pytest.param("endpoint: ams-1.example.com:51820\nattachEndpoint: '[fd00::1]:51821'", id="endpoints"),
        pytest.param("metricsListen: ':0'\nkeyRotation: 0s\nhopPort: 65533", id="what-may-be-0"),
        pytest.param("underlays: [{name: mpls, endpoint: '10.0.0.1:51824'}]\nownAddress: 10.0.0.7", id="underlay"),
        pytest.param("caFile: /nowhere/ca.crt", id="ca-file-is-looked-for-when-running"),
    ],
)
def test_what_works_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(f"resource: shop/ams-1\n{text}")
    assert load(path).resource == "shop/ams-1"
