"""What the CRDs' CEL rules say, in Python: each rule by its message, which is also what people get to read.

The CRDs are the source; a test holds that every rule of theirs is here or in ``OF_UPDATES``, and none else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from foremesh.model.units import Bandwidth, Milliseconds


@dataclass(frozen=True)
class Rule:
    """A predicate that a value of the right shape has to meet."""

    holds: Callable[[Any], bool]
    cure: str = ""
    """What to do, where the message does not say it."""


OF_UPDATES: Final = frozenset(
    {
        "type is fixed once the resource exists; delete it and create another one",
        "a circuit's ends are fixed once it exists; create another Circuit and let this one drain",
        "a circuit's class is fixed once it exists; create another Circuit and let this one drain",
    }
)
"""Rules that compare an object with what it was before: a folder has no before."""

_WEIGHTS: Final = {"latency", "bandwidth", "loss", "hops", "encryption", "egressPrice", "load", "jitter"}
_DURATION: Final = re.compile(r"[0-9]{1,8}([.][0-9]{1,6})?(us|ms|s)")
_RATE: Final = re.compile(r"[0-9]{1,15}([.][0-9]{1,6})?[kMGT]?")
_SHARE: Final = re.compile(r"[0-9]{1,3}([.][0-9]{1,9})?%|[0-9]([.][0-9]{1,9})?")
_PRICE: Final = re.compile(r"[0-9]{1,6}([.][0-9]{1,9})?")
_ENDPOINT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?):[1-9][0-9]{0,4}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*")


def _is_ip(text: str) -> bool:
    """As Kubernetes has it: no zone, and no IPv4 address inside an IPv6 one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text and (address.version == 4 or address.ipv4_mapped is None)


def _prefix(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    address, _, length = text.partition("/")
    if not (_is_ip(address) and re.fullmatch(r"0|[1-9][0-9]{0,2}", length)):
        return None
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        return None


def _is_masked(text: str) -> bool:
    prefix = _prefix(text)
    return prefix is None or prefix.ip == prefix.network.network_address


def _is_web_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0 and text.isprintable()
    except ValueError:
        return False


def _port(endpoint: str) -> int:
    """The number after the last colon; 0 if there is none."""
    port = endpoint.rpartition(":")[2]
    return int(port) if re.fullmatch(r"[1-9][0-9]{0,4}", port) else 0


def _looks_like_ipv4(endpoint: str) -> bool:
    return re.fullmatch(r"[0-9.]+:[0-9]+", endpoint) is not None


def _share(text: str) -> float:
    return float(text.removesuffix("%")) * (0.01 if text.endswith("%") else 1.0)


def _exactly_one(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda body: sum(name in body for name in names) == 1


def _needs(type_: str, block: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda body: body["type"] != type_ or block in body


def _apart(body: Mapping[str, Any], one: str, other: str, what: str) -> bool:
    """Whether two blocks name nothing in common."""
    return not set(body.get(one, {}).get(what, ())) & set(body.get(other, {}).get(what, ()))


def _unavoided(body: Mapping[str, Any], what: str) -> bool:
    """Whether nothing that is required is to be avoided as well."""
    return not set(body.get(what, ())) & set(body.get("avoid", {}).get(what, ()))


def _has_no_ports(body: Mapping[str, Any]) -> bool:
    return body.get("protocol") != "ICMP" or not body.get("ports")


def _names_ports(body: Mapping[str, Any]) -> bool:
    traffic = body.get("traffic", ())
    named = all(kind.get("protocol") == "ICMP" or kind.get("ports") for kind in traffic)
    return body.get("steering") != "OwnAddress" or (bool(traffic) and named)


def _few_enough(body: Mapping[str, Any]) -> bool:
    most = body.get("requirements", {}).get("maxHops")
    return "path" not in body or most is None or len(body["path"]) <= most + 1


def _avoids(body: Mapping[str, Any]) -> bool:
    avoided = body.get("requirements", {}).get("avoid", {}).get("gateways", ())
    return not set(avoided) & set(body.get("path", ()))


def _encrypts_enough(body: Mapping[str, Any]) -> bool:
    asked: str = body.get("requirements", {}).get("encryption", "HopByHop")
    has: str = body.get("encryption", "EndToEnd")
    return asked == "HopByHop" or has == "EndToEnd"


def _path_has(body: Mapping[str, Any], index: int, end: str) -> bool:
    path: Sequence[str] = body.get("path", ())
    return not path or bool(path[index] == body[end])


def _names_others(body: Mapping[str, Any]) -> bool:
    own = body.get("network", "internet")
    return all(one["name"] != own for one in body.get("gateway", {}).get("underlays", ()))


_ONE_OF_THEM = "take it out of one of the two"

RULES: Final[Mapping[str, Rule]] = {
    # Circuit
    "from and to are the same gateway; a circuit joins two different ones": Rule(lambda b: b["from"] != b["to"]),
    "requirements.encryption asks for EndToEnd but encryption is HopByHop, which transits can read; "
    "set encryption to EndToEnd": Rule(_encrypts_enough),
    "a pinned path begins at the gateway in from": Rule(
        lambda b: _path_has(b, 0, "from"), "put that gateway first, or leave path out"
    ),
    "a pinned path ends at the gateway in to": Rule(
        lambda b: _path_has(b, -1, "to"), "put that gateway last, or leave path out"
    ),
    "the pinned path has more links than requirements.maxHops allows": Rule(
        _few_enough, "pin a shorter path or raise maxHops"
    ),
    "the pinned path passes a gateway that requirements.avoid.gateways names": Rule(_avoids, _ONE_OF_THEM),
    "a pinned path passes each gateway once": Rule(lambda path: len(set(path)) == len(path)),
    "write a gateway as namespace/name, for instance mesh/ams-1": Rule(lambda text: "/" in text),
    "write a gateway as namespace/name, for instance mesh/fra-1": Rule(lambda text: "/" in text),
    # Requirements, and figures
    "a region is in both regions and avoid.regions": Rule(lambda b: _unavoided(b, "regions"), _ONE_OF_THEM),
    "a provider is in both providers and avoid.providers": Rule(lambda b: _unavoided(b, "providers"), _ONE_OF_THEM),
    "a label is in both gatewayLabels and avoid.gatewayLabels": Rule(
        lambda b: _unavoided(b, "gatewayLabels"), _ONE_OF_THEM
    ),
    "write a duration with us, ms or s, for instance 40ms or 1.5s": Rule(lambda text: bool(_DURATION.fullmatch(text))),
    "maxLatency is between 1us and 60s; no path has a round trip of zero": Rule(
        lambda text: not _DURATION.fullmatch(text) or 0.001 <= Milliseconds.parse(text) <= 60_000
    ),
    "write a rate in bits per second with k, M, G or T, for instance 200M or 1.5G": Rule(
        lambda text: bool(_RATE.fullmatch(text))
    ),
    "a rate is between 1k and 100T bits per second; 200M is 200 million": Rule(
        lambda text: not _RATE.fullmatch(text) or 1e3 <= Bandwidth.parse(text) <= 1e14
    ),
    'write a share in quotes, for instance "0.5%" or "0.005"': Rule(lambda text: bool(_SHARE.fullmatch(text))),
    "maxLoss is more than 0 and less than 100% (1); no network can promise to lose nothing, so write for instance "
    "0.1%": Rule(lambda text: not _SHARE.fullmatch(text) or 0 < _share(text) < 1),
    'write a price in US dollars per gigabyte as a quoted plain number, for instance "0.09"': Rule(
        lambda text: bool(_PRICE.fullmatch(text))
    ),
    'more than 1000 US dollars per gigabyte: the unit is dollars per gigabyte, for instance "0.09"': Rule(
        lambda text: not _PRICE.fullmatch(text) or float(text) <= 1000
    ),
    # Traffic, services and firewalls
    "ICMP has no ports; remove ports or set protocol to TCP or UDP": Rule(_has_no_ports),
    "ICMP has no ports; remove port or set protocol to TCP or UDP": Rule(
        lambda b: b.get("protocol") != "ICMP" or "port" not in b
    ),
    "write a prefix as address/length, for instance 10.0.0.0/8": Rule(lambda text: _prefix(text) is not None),
    "the address has bits beyond the prefix length; write 10.0.0.0/8, not 10.1.2.3/8, or /32 for one address": Rule(
        _is_masked
    ),
    "mesh addresses are IPv4, so an IPv6 prefix would never match": Rule(
        lambda text: (prefix := _prefix(text)) is None or prefix.version == 4
    ),
    # Intent
    "from.resource and to.resource are the same; an Intent is between two different resources": Rule(
        lambda b: "resource" not in b["from"] or b["from"]["resource"] != b["to"].get("resource")
    ),
    "give exactly one of from.resource (a MeshResource's name) and from.selector (labels)": Rule(
        _exactly_one("resource", "selector")
    ),
    "give exactly one of to.service (a name that MeshResources offer), to.resource (a MeshResource's name) and "
    "to.selector (labels)": Rule(_exactly_one("service", "resource", "selector")),
    "steering OwnAddress needs to.resource: an address of its own belongs to one destination": Rule(
        lambda b: b.get("steering") != "OwnAddress" or "resource" in b["to"]
    ),
    "steering OwnAddress needs traffic that names its ports: everything else to that address is left as it is": Rule(
        _names_ports
    ),
    # MeshPolicy
    "deny refuses the traffic altogether, so require, prefer, avoid, weights and minimumEncryption beside it would "
    "never be used; remove them or deny": Rule(
        lambda b: not b.get("deny") or not b.keys() & {"require", "prefer", "avoid", "weights", "minimumEncryption"}
    ),
    "a region is in both require.regions and avoid.regions": Rule(
        lambda b: _apart(b, "require", "avoid", "regions"), _ONE_OF_THEM
    ),
    "a provider is in both require.providers and avoid.providers": Rule(
        lambda b: _apart(b, "require", "avoid", "providers"), _ONE_OF_THEM
    ),
    "a label is in both require.gatewayLabels and avoid.gatewayLabels": Rule(
        lambda b: _apart(b, "require", "avoid", "gatewayLabels"), _ONE_OF_THEM
    ),
    "a gateway is in both require.gateways and avoid.gateways": Rule(
        lambda b: _apart(b, "require", "avoid", "gateways"), _ONE_OF_THEM
    ),
    "every weight is 0, so all paths would cost the same; leave out those that are to stay as the profile has them, or "
    "give one of them more": Rule(lambda b: bool(_WEIGHTS - b.keys()) or any(b.values())),
    # MeshResource
    "give exactly one of workload, machine, function and gateway, the one that belongs to type": Rule(
        _exactly_one("workload", "machine", "function", "gateway")
    ),
    "gateway.underlays names the resource's own network (spec.network, internet if unset), whose endpoint is "
    "gateway.endpoint": Rule(_names_others, "give it another name, or take it out"),
    "type Container needs workload, for instance workload: {selector: {matchLabels: {app: web}}}": Rule(
        _needs("Container", "workload")
    ),
    "type VirtualMachine needs machine, for instance machine: {address: 10.0.0.7}": Rule(
        _needs("VirtualMachine", "machine")
    ),
    "type Function needs function, for instance function: {url: https://resize.example.com}": Rule(
        _needs("Function", "function")
    ),
    'type Gateway needs gateway, for instance gateway: {role: Core, endpoint: "gw.example.com:51820"}': Rule(
        _needs("Gateway", "gateway")
    ),
    "latitude and longitude go together; give both or neither": Rule(lambda b: ("latitude" in b) == ("longitude" in b)),
    "address is an IP address such as 10.0.0.7 or a DNS name such as db.example.com, without a port": Rule(
        lambda text: _is_ip(text) or bool(_HOST.fullmatch(text) and not re.fullmatch(r"[0-9.]+", text))
    ),
    "give exactly one of function.serviceRef (a Service in the cluster) and function.url": Rule(
        _exactly_one("serviceRef", "url")
    ),
    "url is a web address with http or https and a host, for instance https://resize.example.com": Rule(
        _is_web_address
    ),
    "endpoint is host:port, for instance gw.example.com:51820 or [2001:db8::1]:51820": Rule(
        lambda text: bool(_ENDPOINT.fullmatch(text))
    ),
    "the endpoint's port must be 1 to 65535": Rule(lambda text: _port(text) <= 65535),
    "the endpoint's host looks like an IPv4 address but is none; each of its four numbers is 0 to 255": Rule(
        lambda text: not _looks_like_ipv4(text) or _is_ip(text.rpartition(":")[0])
    ),
    "the endpoint's host in brackets is no IPv6 address; write it like [2001:db8::1]:51820": Rule(
        lambda text: not text.startswith("[") or _is_ip(text[1:].rpartition("]")[0])
    ),
}

NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""What Kubernetes takes as the name of an object; ``WORDS`` says it in words."""
_PART: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_LABEL: Final = r"^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$"
LABEL_KEY: Final = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
)

_SMALL = "lower-case letters, digits and '-', with a letter or digit at both ends"
_BOTH = "with a letter or digit at both ends"

WORDS: Final[Mapping[str, str]] = {
    NAME: f"use {_SMALL}; dots may join several such parts",
    _PART: f"use {_SMALL}",
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$": "use lower-case letters, digits and '-', with a letter at the start",
    _LABEL: f"use letters, digits, '-', '_' and '.', {_BOTH}",
    LABEL_KEY: f"use letters, digits, '-', '_' and '.', {_BOTH}, after a DNS name and '/' if there is a prefix",
    r"^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$": f"use letters, digits, '-', '_' and '.', {_BOTH}",
    r"^[A-Za-z0-9]([-_./A-Za-z0-9]*[A-Za-z0-9])?$": f"use letters, digits, '-', '_', '.' and '/', {_BOTH}",
    r"^[A-Za-z0-9]([-_.:/A-Za-z0-9]*[A-Za-z0-9])?$": f"use letters, digits, '-', '_', '.', ':' and '/', {_BOTH}",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$": (
        "write namespace/name in lower-case letters, digits and '-', for instance mesh/ams-1"
    ),
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-.a-z0-9]*[a-z0-9])?$": (
        "write name or namespace/name in lower-case letters, digits and '-', for instance web or shop/web"
    ),
    r"^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?"
    r"=([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$": "write a label as key=value, for instance tier=gold",
}
"""The CRDs' patterns for people; where a rule says it already, the pattern is not reached."""
