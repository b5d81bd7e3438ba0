"""What values of settings must be, beyond their types; each check raises a ValueError that names the setting."""

from __future__ import annotations

import math
import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

MOST_PORT = 65_535
"""UDP and TCP have 16 bits for a port."""

WHOLE = 1e-6
"""Share of a step that a multiple of it may be off: less than forecasts and telemetry allow, so that what passes here
passes there."""

HTTP = ("http", "https")


def check_positive(**values_s: float | None) -> None:
    """Durations in seconds, named as in the file; None is one that is not set."""
    for name, value_s in values_s.items():
        if value_s is not None and not 0 < value_s < math.inf:
            raise ValueError(f"{name} is {value_s:g} s, and must be more than none")


def check_multiple(name: str, whole_s: float, step_name: str, step_s: float) -> None:
    check_positive(**{step_name: step_s, name: whole_s})
    steps = round(whole_s / step_s)
    if steps < 1 or abs(steps * step_s - whole_s) > WHOLE * step_s:
        raise ValueError(f"{name} of {whole_s:g} s is no positive multiple of {step_name}, {step_s:g} s")


def check_port(name: str, port: int | None) -> None:
    if port is not None and not 1 <= port <= MOST_PORT:
        raise ValueError(f"{name} is {port}, and ports are 1 to {MOST_PORT}")


def check_url(name: str, url: str | None) -> None:
    """``http://`` or ``https://``, in whatever case, a host, and a port that there is, if any."""
    if url is None:
        return
    parts = _split(url)
    if parts is None or parts.scheme not in HTTP or not parts.hostname:
        shown = url.rpartition("@")[2]  # before it there may be a password
        raise ValueError(f"{name} {shown!r} is not http(s)://host or http(s)://host:port, with ports 1 to {MOST_PORT}")


def check_endpoint(name: str, endpoint: str | None) -> None:
    """``host:port``, with IPv6 addresses in brackets."""
    if endpoint is None:
        return
    parts = _split(f"//{endpoint}")
    if parts is None or parts.port is None or not parts.hostname or parts.netloc != endpoint or "@" in endpoint:
        raise ValueError(f"{name} {endpoint!r} is not host:port, with ports 1 to {MOST_PORT}")


def check_listen(name: str, where: str) -> None:
    """``host:port``, where no host is every address and port 0 a free one."""
    _, colon, port = where.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > MOST_PORT:
        raise ValueError(f"{name} {where!r} is not host:port, with ports 0 to {MOST_PORT}")


def is_loopback(url: str) -> bool:
    """Whether a URL's host is the machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    """None if it has white space, a port that cannot be, or a host that no name server could be asked for."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        return None if parts.port == 0 or re.search(r"\s", url) else parts
    except ValueError:
        return None
