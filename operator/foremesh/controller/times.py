"""The clock, and times as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def utc() -> datetime:
    return datetime.now(UTC)


def text(time: datetime) -> str:
    """RFC 3339, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
