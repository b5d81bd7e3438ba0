"""Names in policies and intents that no gateway bears: a slip of the pen, most often, and never an error that planning
could point out, since nothing is in a region that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from foremesh.model.intent import Avoid, Requirements
from foremesh.model.policy import Policy, Prefer, Require
from foremesh.model.resource import Resource

SAID = {
    "regions": "has region",
    "providers": "has provider",
    "gateway_labels": "has label",
    "gateways": "is called",
}
"""Field of a requirement to what no gateway does."""

KEYS = {"regions": "regions", "providers": "providers", "gateway_labels": "gatewayLabels", "gateways": "gateways"}
"""Field to its name in a manifest."""


@dataclass(frozen=True)
class Gateways:
    """What gateways are called, where they are and whose; made once for many questions."""

    known: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Gateways:
        gateways = [one for one in resources if one.is_gateway]
        return cls(
            {
                "regions": frozenset(one.spec.location.region for one in gateways),
                "providers": frozenset(one.spec.location.provider for one in gateways),
                "gateway_labels": frozenset(f"{k}={v}" for one in gateways for k, v in one.meta.labels.items()),
                "gateways": frozenset(one.id for one in gateways) | frozenset(one.meta.name for one in gateways),
            }
        )

    def unnamed_in_policy(self, policy: Policy) -> tuple[str, ...]:
        """What a policy names and nobody is, each in a sentence."""
        spec = policy.spec
        parts: tuple[tuple[str, Require | Prefer | Avoid, str], ...] = (
            ("require", spec.require, "nothing meets it"),
            ("prefer", spec.prefer, "it favours nothing"),
            ("avoid", spec.avoid, "it keeps nothing out"),
        )
        return tuple(text for where, part, so in parts for text in self._unnamed(f"spec.{where}", part, so))

    def unnamed_in_requirements(self, needs: Requirements) -> tuple[str, ...]:
        """What an Intent's requirements name and no gateway is."""
        asked = self._unnamed("spec.requirements", needs, "no gateway meets it")
        return (*asked, *self._unnamed("spec.requirements.avoid", needs.avoid, "it keeps nothing out"))

    def _unnamed(self, where: str, part: Requirements | Require | Prefer | Avoid, so: str) -> Iterator[str]:
        for field, does in SAID.items():
            for entry in getattr(part, field, ()):
                if entry not in self.known[field]:
                    yield f"no gateway {does} {entry} ({where}.{KEYS[field]}): {so}"
