"""Why every source of an Intent is where it is, from the decision that put it there. Pure; nothing is searched anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from foremesh.decide.shadow import weights_of
from foremesh.decide.unnamed import Gateways
from foremesh.decide.values import Decision, Declared
from foremesh.model.circuit import Figures
from foremesh.model.explanation import Contender, Explained, Explanation, IntentExplanation, LinkForecast
from foremesh.model.plan import Infeasible, Path, Placement
from foremesh.model.policy import AppliedPolicy, Policy
from foremesh.model.series import Metric
from foremesh.routing.ask import Ask
from foremesh.routing.cost import PROFILES, WEIGHED
from foremesh.routing.demand import Candidate, Demand
from foremesh.routing.explain import explain, reached
from foremesh.routing.needs import LISTS, SETS, asking
from foremesh.routing.policy import applied
from foremesh.routing.relax import relaxed

PLACED, UNMET, NOT_PLACED = "Placed", "Unmet", "NotPlaced"

EXPLAINED = ("intent", "circuit")
"""Kinds that there is a story of."""

MOST_SEARCHED = 20
"""Sources of one Intent for which it is worked out what the network has to offer: some 20 ms each in a large mesh."""

MOST_LISTED = 8
"""Names that are listed where one is not known."""

DECIMALS = 6
"""Of a cost: a millionth of a unit is a ten-thousandth of a millisecond."""

LEAST_TERM = 0.5e-6
"""Cost below which a term is rounded away."""

TOLD = 0.0005
"""Difference in a term of the cost below which it is no reason: three decimals are shown."""

FIGURES = {"latency_ms": 3, "latency_p90_ms": 3, "loss": 6, "bandwidth_bps": 0, "egress_price": 6, "cost": 6}
"""Decimals that mean something."""


def explain_intent(intent: str, decision: Decision, declared: Declared) -> IntentExplanation:
    """The whole story of an Intent.

    Raises:
        KeyError: If nobody declared it, or the decision does not know it yet.
    """
    asked, resolution = declared.intents[intent], decision.chosen.resolved[intent]
    needs = asked.spec.requirements
    problem = resolution.problem.message if resolution.problem else decision.chosen.problem
    placed = decision.chosen.by_intent.get(intent, ())
    return IntentExplanation(
        intent=intent,
        profile=asked.spec.profile,
        priority=asked.spec.priority,
        requirements=needs,
        problem=problem,
        notes=(
            *Gateways.of(declared.resources.values()).unnamed_in_requirements(needs),
            *(f"left out: {one}" for one in resolution.left_out),
        ),
        placements=tuple(
            explained(one, decision, declared, searching=number < MOST_SEARCHED) for number, one in enumerate(placed)
        ),
    )


class Unexplained(ValueError):
    """Nothing of that kind and name can be explained; carries ``cause`` and ``cure``."""

    def __init__(self, cause: str, cure: str) -> None:
        self.cause = cause
        self.cure = cure
        super().__init__(f"{cause}; {cure}")


def explain_object(what: str, decision: Decision, declared: Declared) -> tuple[IntentExplanation, ...]:
    """An Intent, or every Intent that a Circuit carries.

    Args:
        what: ``intent/NAME`` or ``circuit/NAME``; names as ``namespace/name``, or alone where only one has it.

    Raises:
        Unexplained: If there is no such thing, or the newest decision does not know it.
    """
    kind, _, name = what.partition("/")
    kind = kind.lower().removesuffix("s")
    if kind not in EXPLAINED or not name:
        raise Unexplained(f"{what!r} cannot be explained", "give intent/NAME or circuit/NAME")
    chosen = decision.chosen
    ids = declared.intents.keys() & chosen.resolved.keys() if kind == "intent" else decision.served.keys()
    found = [id_ for id_ in sorted(ids) if name in (id_, id_.rpartition("/")[2])]
    if not found:
        names = ", ".join(sorted(ids)[:MOST_LISTED]) or "none"
        raise Unexplained(f"there is no {kind} {name} in the newest plan", f"there are: {names}")
    if len(found) > 1:
        raise Unexplained(f"{len(found)} {kind}s are called {name}: {', '.join(found)}", "write namespace/name")
    if kind == "intent":
        return (explain_intent(found[0], decision, declared),)
    return tuple(explain_intent(one, decision, declared) for one in decision.served[found[0]])


def explained(placement: Placement, decision: Decision, declared: Declared, *, searching: bool = True) -> Explained:
    """The story of one source; ``searching`` also for the best that can be had where nothing fits."""
    unserved = decision.unserved.get((placement.intent, placement.source))
    because = explanation(placement, decision, declared)
    infeasible, reason = placement.infeasible, placement.reason
    if infeasible is not None and searching:
        longer = at_length(infeasible, placement.intent, placement.source, decision)
        infeasible, reason = longer, reason.replace(infeasible.message, longer.message)
    if placement.path is None or unserved is not None:
        return Explained(
            state=NOT_PLACED,
            because=because,
            reason=reason,
            infeasible=infeasible,
            problem=unserved.message if unserved else "",
        )
    return Explained(
        state=UNMET if placement.infeasible else PLACED,
        because=because,
        destination=placement.destination or "",
        circuit=decision.circuit_of(placement),
        path=placement.path.text,
        standby=placement.standby.text if placement.standby else "",
        predicted=_rounded(placement.path.figures),
        kept=placement.kept,
        reason=reason,
        runners_up=tuple(contenders(placement)),
        infeasible=infeasible,
    )


def at_length(infeasible: Infeasible, intent: str, source: str, decision: Decision) -> Infeasible:
    """Why nothing fits, with the best that the network has to offer of each requirement: between the source and any
    candidate, whatever else is asked and whoever else was promised what. It takes searches, so it is worked out only
    for those that somebody reads."""
    demands = decision.chosen.resolved[intent].demands
    demand = next((one for one in demands if one.source.id == source), None)
    if demand is None or not infeasible.shortfalls:
        return infeasible
    ends: dict[str, float | None] = {}
    for candidate in demand.candidates:
        for gateway, rtt_ms in candidate.gateways.items():
            before = ends.get(gateway)
            ends[gateway] = rtt_ms if before is None else before if rtt_ms is None else min(before, rtt_ms)
    ask = Ask(
        sources=demand.source_gateways,
        destinations=ends,
        requirements=demand.intent.spec.requirements,
        weights=PROFILES[demand.intent.spec.profile],
    )
    found = infeasible.shortfalls
    first, router = found[0], decision.chosen.router
    if first.requirement in LISTS and first.nearest and not first.path:  # no destination was left to look for a path to
        for one in found:
            if one.requirement in SETS:
                ask = asking(ask, one.requirement, one.asked)
        near = relaxed(router, ask, first.requirement)
        nearest, path = (near.nearest, router.text(near.route)) if near else ("", "")
        if near is None:  # more than that binds
            told = f"{infeasible.message}; and that is not all: {explain(router, ask).message}"
            infeasible = msgspec.structs.replace(infeasible, message=told)
        found = (msgspec.structs.replace(first, nearest=nearest, path=path), *found[1:])
    return msgspec.structs.replace(infeasible, shortfalls=reached(router, ask, found))


def explanation(placement: Placement, decision: Decision, declared: Declared) -> Explanation:
    """Terms, weights, policies and forecasts of one source."""
    known, key = decision.chosen.explanations, (placement.intent, placement.source)
    if key not in known:
        known[key] = _explanation(placement, decision, declared)
    return known[key]


def _explanation(placement: Placement, decision: Decision, declared: Declared) -> Explanation:
    demand = _demand(placement, decision)
    if demand is None:
        return Explanation(source=placement.source)
    path, rules = placement.path, tuple(declared.policies.values())
    weights = weights_of(demand, placement, rules) if demand.candidates else None
    terms = _terms(path.terms) if path else {}
    assumed = decision.chosen.assumptions.of(path) if path else {}
    return Explanation(
        source=placement.source,
        weights={term: getattr(weights, field) for term, field in WEIGHED.items()} if weights else {},
        terms=terms,
        assumed={term: told for term, told in assumed.items() if term in terms},
        policies=policies_of(demand, placement.destination, rules),
        forecasts=_forecasts(path, decision) if path else (),
    )


def contenders(placement: Placement) -> Iterator[Contender]:
    """The runners-up, and why they are no more than that."""
    chosen = placement.path
    assert chosen is not None
    for other, destination in zip(placement.runners_up, placement.runners_up_to, strict=True):
        extra = (other.figures.cost or 0.0) - (chosen.figures.cost or 0.0)
        terms = {name: value - chosen.terms.get(name, 0.0) for name, value in other.terms.items()}
        yield Contender(
            path=other.text,
            destination=destination,
            predicted=_rounded(other.figures),
            extra_cost=round(extra, DECIMALS),
            extra_terms=_terms(terms),
            lost=_lost(extra, terms, placement),
        )


def _lost(extra: float, terms: Mapping[str, float], placement: Placement) -> str:
    telling = sorted(((abs(value), name, value) for name, value in terms.items() if abs(value) >= TOLD), reverse=True)
    parts = ", ".join(f"{name} {value:+.3f}" for _, name, value in telling)
    if extra >= TOLD:
        return f"costs {extra:.3f} more: {parts}"
    if extra > -TOLD:
        return "costs as much; the path with fewer links, or that comes first by name, is taken"
    return f"would cost {-extra:.3f} less ({parts}), but: {placement.reason}"


def policies_of(demand: Demand, destination: str | None, rules: Iterable[Policy]) -> tuple[AppliedPolicy, ...]:
    """What policies do to a demand and where it goes to; to any of its candidates, if nowhere. Each once."""

    def about(candidate: Candidate) -> bool:
        return destination is None or candidate.resource.id == destination

    known, found = tuple(rules), dict[str, AppliedPolicy]()
    for candidate in filter(about, demand.candidates):
        ends = ((demand.source, demand.source_addresses), (candidate.resource, candidate.addresses))
        for one in applied(known, demand.intent, *ends):
            found.setdefault(one.policy, one)
    return tuple(sorted(found.values(), key=lambda one: (one.priority, one.policy), reverse=True))


def _demand(placement: Placement, decision: Decision) -> Demand | None:
    demands = decision.chosen.resolved[placement.intent].demands
    return next((one for one in demands if one.source.id == placement.source), None)


def _forecasts(path: Path, decision: Decision) -> tuple[LinkForecast, ...]:
    rtt = decision.chosen.forecasts.by_metric.get(Metric.RTT)
    found = []
    for id_ in path.links:
        link = decision.chosen.predicted.get(id_)
        figure = link.rtt_ms if link else None
        found.append(
            LinkForecast(
                link=str(id_),
                model=link.forecast_model if link else "",
                reason=rtt.reason(id_) if rtt is not None else "",
                rtt_ms=round(figure.median, 3) if figure else None,
                rtt_p90_ms=round(figure.pessimistic, 3) if figure else None,
            )
        )
    return tuple(found)


def _terms(terms: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, DECIMALS) for name, value in terms.items() if abs(value) >= LEAST_TERM}


def _rounded(figures: Figures) -> Figures:
    known = {name: getattr(figures, name) for name in FIGURES}
    return msgspec.structs.replace(
        figures, **{name: round(value, FIGURES[name]) for name, value in known.items() if value is not None}
    )
