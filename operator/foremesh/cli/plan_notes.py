"""What a plan says beside the plan: which figures nobody knows, and what a person may have meant otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from foremesh.decide import Gateways, doubles
from foremesh.decide.idle import WEIGHTS_ARE_ZERO
from foremesh.model.link import PredictedLink
from foremesh.model.series import Metric

if TYPE_CHECKING:
    from foremesh.cli.plan_document import Planned

Document = dict[str, Any]


def unknown(planned: Planned) -> dict[str, list[Document]]:
    """What is not known of links and attachments, and why."""
    found: dict[str, list[Document]] = {
        name: [] for name in ("roundTrip", "loss", "freeBandwidth", "egressPrice", "attachment")
    }

    def note(name: str, link: PredictedLink, why: str) -> None:
        found[name].append({"link": str(link.id), "why": why})

    for link in planned.decision.chosen.graph.links:
        if link.rtt_ms is None:
            note("roundTrip", link, _why(planned, Metric.RTT, link))
        if link.loss is None:
            note("loss", link, _why(planned, Metric.LOSS, link))
        if link.free_bps is None:
            missing = link.capacity_bps is None
            why = "no capacity is declared" if missing else f"throughput: {_why(planned, Metric.THROUGHPUT, link)}"
            note("freeBandwidth", link, why)
        if link.egress_price is None:
            note("egressPrice", link, f"{link.id.src} declares none")
    for member in planned.decision.state.members:
        found["attachment"] += [
            {"resource": member.id, "gateway": gateway, "why": "no row in links.csv"}
            for gateway in member.gateways
            if (member.id, gateway) not in planned.bundle.attachment_rtt_ms
        ]
    return {name: entries for name, entries in found.items() if entries}


def _why(planned: Planned, metric: Metric, link: PredictedLink) -> str:
    series = planned.bundle.series.get(metric, {}).get(link.id)
    if series is None or not len(series.times_s):
        return "no samples"
    return f"newest sample is {planned.bundle.now_s - float(series.times_s[-1]):.0f} s old"


def notes(planned: Planned) -> Iterable[str]:
    """What a person may have meant otherwise."""
    bundle = planned.bundle
    for id_ in bundle.by_hand:
        yield f"Circuit {id_} was made by hand; foremesh does not serve such circuits yet"
    for id_, why in planned.decision.unpinned.items():
        yield f"{f'workload {id_} is' if id_ else 'workloads are'} not held to gateways by network policies: {why}"
    for id_, resolution in planned.decision.chosen.resolved.items():
        for message in resolution.left_out:
            yield f"Intent {id_} leaves a source out: {message}"
    yield from dict.fromkeys(  # of weights, one that is about several policies
        remark.message if remark.reason == WEIGHTS_ARE_ZERO else f"MeshPolicy {id_}: {remark.message}"
        for id_, remark in sorted(planned.decision.chosen.remarks.items())
    )
    for id_, problem in sorted(doubles(bundle.declared.resources).items()):
        yield f"MeshResource {id_}: {problem.message}"
    gateways = Gateways.of(bundle.declared.resources.values())
    for id_, policy in sorted(bundle.declared.policies.items()):
        for told in gateways.unnamed_in_policy(policy):
            yield f"MeshPolicy {id_}: {told}"
    for id_, intent in sorted(bundle.declared.intents.items()):
        for told in gateways.unnamed_in_requirements(intent.spec.requirements):
            yield f"Intent {id_}: {told}"
