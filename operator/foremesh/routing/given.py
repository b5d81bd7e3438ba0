"""What people hand to the public functions, looked at once, before any search: a figure that makes no sense is refused
by name instead of being taken for one that does. The planner's own questions do not come by here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from foremesh.model.intent import Avoid, Encryption, Requirements
from foremesh.model.link import Course, Figure, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.policy import Prefer
from foremesh.model.resource import Role

LARGEST = 1e18
"""No figure is larger, whatever its unit: of what is, sums would not be exact."""
LINK_FIGURES = (("rtt_ms", math.inf), ("loss", 1.0), ("free_bps", math.inf))
"""Predictions of links, and the most that they can be."""
ROUNDING = 1e-6
"""Share by which the ends of a figure may be the wrong way round: single-precision arithmetic errs by less."""
LINK_NUMBERS = ("rtt_error_ms", "jitter_ms", "capacity_bps", "queueing_ms", "egress_price")
ASKED = ("max_latency", "min_bandwidth", "reverse", "max_loss", "max_hops", "max_egress_price")
NAMES = ("regions", "providers", "gateway_labels")
NAMES_OF_GATEWAYS = (*NAMES, "gateways")


def check_graph(graph: MeshGraph) -> None:
    """
    Raises:
        ValueError: If a figure is negative, not finite, or a share over 1, or its pessimistic end is better than its
            median; if links are told in different steps; if two gateways or two links have one id, or a link is from a
            gateway to itself or to one that the graph does not have. ``build_graph`` makes no such graph.
    """
    if not isinstance(graph, MeshGraph):
        raise ValueError(f"graph is {graph!r}; it must be a MeshGraph")
    _check_ids(graph)
    _check_courses([link for link in graph.links if link.course is not None])
    for name, most in LINK_FIGURES:
        for link in graph.links:
            _check_figure("link", link, name, most)
    for name in LINK_NUMBERS:
        for link in graph.links:
            value = getattr(link, name)
            if value is not None and not _fits(value, math.inf):
                check_number(f"link {link.id}: {name}", value, unknown=True)
    for node in graph.nodes:
        _check_figure("gateway", node, "load", 1.0)


def _check_ids(graph: MeshGraph) -> None:
    gateways, links = set[str](), set[LinkId]()
    for node in graph.nodes:
        if not isinstance(node, Node):
            raise ValueError(f"one of the graph's nodes is {node!r}; it must be a Node")
        if not isinstance(node.id, str):
            raise ValueError(f"the id of a gateway is {node.id!r}; it must be a string such as 'mesh/ams'")
        if not isinstance(node.role, Role):
            raise ValueError(f"gateway {node.id}: role is {node.role!r}; it must be a Role, such as Role.CORE")
        if node.id in gateways:
            raise ValueError(f"gateway {node.id} is in the graph twice; which of the two holds is not known")
        gateways.add(node.id)
    for link in graph.links:
        if not isinstance(link, PredictedLink):
            raise ValueError(f"one of the graph's links is {link!r}; it must be a PredictedLink")
        id_ = link.id
        if not isinstance(id_, LinkId):
            raise ValueError(f"the id of a link is {id_!r}; it must be a LinkId(src='ams', dst='fra')")
        if id_ in links:
            raise ValueError(
                f"link {id_} is in the graph twice; which of the two holds is not known: give one, or each an underlay "
                "of its own"
            )
        links.add(id_)
        if id_.src == id_.dst:
            raise ValueError(f"link {id_} is from a gateway to itself; no path can use it")
        for end in (id_.src, id_.dst):
            if end not in gateways:
                raise ValueError(f"link {id_}: the graph has no gateway {end}; add it to nodes, or leave the link out")


def _check_courses(links: Iterable[PredictedLink]) -> None:
    steps = dict[tuple[float, int], LinkId]()
    for link in links:
        course = link.course
        if not isinstance(course, Course):
            raise ValueError(f"link {link.id}: course is {course!r}; it must be a Course, or None if there is none")
        check_number(f"link {link.id}: course.step_s", course.step_s)
        for name, most in LINK_FIGURES:
            some: tuple[Figure, ...] = getattr(course, name)
            if course.step_s == 0 or (some and len(some) != course.steps) or not course.steps:
                lengths = ", ".join(f"{len(getattr(course, one))} of {one}" for one, _ in LINK_FIGURES)
                raise ValueError(
                    f"link {link.id}: course has {lengths}, {course.step_s:g} s each; it must have as many of each "
                    "figure as there are steps, or none, and steps of more than 0 s"
                )
            for figure in some:
                if not _sound(figure, name, most):
                    _refuse(f"link {link.id}: course.{name}", figure, name, most)
        steps.setdefault((course.step_s, course.steps), link.id)
    if len(steps) > 1:
        (one, other, *_) = steps.items()
        told = " and ".join(f"{id} has {count} of {step_s:g} s" for (step_s, count), id in (one, other))
        raise ValueError(f"links are told in different steps: {told}; give all courses the same")


def check_ends(which: str, gateways: Mapping[str, float | None]) -> None:
    """
    Raises:
        ValueError: If the round trip of an attachment is negative or not finite.
    """
    if not isinstance(gateways, Mapping):
        raise ValueError(f"{which} is {gateways!r}; it must map gateways to round trips in ms: {{'fra': 0.0}}")
    for gateway, rtt_ms in gateways.items():
        check_number(f"{which}: round trip in ms behind {gateway}", rtt_ms, unknown=True)


def check_requirements(whose: str, needs: Requirements) -> None:
    """
    Raises:
        ValueError: If a limit is negative or not finite, or names come in anything but a tuple.
    """
    if not isinstance(needs, Requirements):
        raise ValueError(f"{whose}requirements is {needs!r}; it must be a Requirements")
    for name in ASKED:
        check_number(f"{whose}requirements.{name}", getattr(needs, name), 1.0 if name == "max_loss" else math.inf, None)
    check_count(f"{whose}requirements.max_hops", needs.max_hops)
    for name in NAMES:
        check_names(f"{whose}requirements.{name}", getattr(needs, name))
    if not isinstance(needs.avoid, Avoid):
        raise ValueError(f"{whose}requirements.avoid is {needs.avoid!r}; it must be an Avoid")
    for name in NAMES_OF_GATEWAYS:
        check_names(f"{whose}requirements.avoid.{name}", getattr(needs.avoid, name))
    if not (needs.encryption is None or isinstance(needs.encryption, Encryption)):
        raise ValueError(
            f"{whose}requirements.encryption is {needs.encryption!r}; it must be an Encryption, such as "
            "Encryption.END_TO_END, or None if nothing is asked"
        )


def check_through(through: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """The groups as tuples.

    Raises:
        ValueError: If a name stands where a group, or the groups, are to be: it would be taken for its letters.
    """
    wrong = f"through is {through!r}; it must be groups of gateways, each a tuple: (('ams', 'fra'), ('lon',))"
    if isinstance(through, str) or not isinstance(through, Iterable):
        raise ValueError(wrong)
    groups = []
    for group in through:
        if isinstance(group, str) or not isinstance(group, Iterable):
            raise ValueError(f"a group of {wrong}")
        groups.append(tuple(group))
        if not groups[-1]:
            raise ValueError(f"a group of {wrong[:-1]}, and none of them empty: no path passes one of nothing")
        check_names("a group of through", groups[-1])
    return tuple(groups)


def check_prefer(prefer: Iterable[Prefer]) -> tuple[Prefer, ...]:
    """The preferences as a tuple.

    Raises:
        ValueError: If one is no Prefer, or has names in anything but a tuple.
    """
    if isinstance(prefer, str) or not isinstance(prefer, Iterable):
        raise ValueError(f"prefer is {prefer!r}; it must be a tuple of Prefer")
    every = tuple(prefer)
    for one in every:
        if not isinstance(one, Prefer):
            raise ValueError(f"one of prefer is {one!r}; it must be a Prefer")
        for name in NAMES_OF_GATEWAYS:
            check_names(f"prefer.{name}", getattr(one, name))
    return every


def check_names(what: str, names: Any) -> None:
    """
    Raises:
        ValueError: If it is no tuple of strings; a string alone would be taken for its letters.
    """
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        such = repr((names,)) if isinstance(names, str) else "('one', 'other')"
        raise ValueError(f"{what} is {names!r}; it must be a tuple of strings: give a tuple such as {such}")


def check_rates(what: str, rates: Mapping[LinkId, float]) -> None:
    """
    Raises:
        ValueError: If a rate is negative or not finite, or of something else than a link.
    """
    if not isinstance(rates, Mapping):
        raise ValueError(f"{what} is {rates!r}; it must map LinkIds to bit/s")
    for name, bps in rates.items():
        if not isinstance(name, LinkId):
            raise ValueError(f"{what} has a rate of {name!r}; it must be a LinkId(src='ams', dst='fra')")
        check_number(f"{what} of {name}", bps)


def check_number(what: str, value: Any, most: float = math.inf, unknown: bool | None = False) -> None:
    """Refuse what is no number from 0 to ``most``.

    Args:
        unknown: Whether None will do: True, it is unknown; None, it is not asked for; False, it will not.

    Raises:
        ValueError: Says what it is about, what it is, and what it may be.
    """
    if value is None and unknown is not False:
        return
    if not _fits(value, most):
        limits = f"a number from 0 to {min(most, LARGEST):g}"
        or_none = {True: ", or None if it is unknown", None: ", or None if nothing is asked", False: ""}[unknown]
        raise ValueError(f"{what} is {_told(value)}; it must be {limits}{or_none}")


def check_count(what: str, value: Any) -> None:
    """
    Raises:
        ValueError: If it is given, and not a whole number.
    """
    if value is not None and not isinstance(value, Integral):
        raise ValueError(f"{what} is {value!r}; it must be a whole number")


def _check_figure(kind: str, one: PredictedLink | Node, name: str, most: float) -> None:
    figure: Figure | None = getattr(one, name)
    if figure is not None and not _sound(figure, name, most):  # words are made only where needed: graphs are large
        _refuse(f"{kind} {one.id}: {name}", figure, name, most)


def _sound(figure: Any, name: str, most: float) -> bool:
    if not (isinstance(figure, Figure) and _fits(figure.median, most) and _fits(figure.pessimistic, most)):
        return False
    better, worse = figure.median, figure.pessimistic
    if name == "free_bps":
        better, worse = worse, better
    return better <= worse or math.isclose(better, worse, rel_tol=ROUNDING)


def _refuse(what: str, figure: Any, name: str, most: float) -> None:
    if not isinstance(figure, Figure):
        raise ValueError(f"{what} is {figure!r}; it must be a Figure(median=..., pessimistic=...), or None")
    for end in ("median", "pessimistic"):
        check_number(f"{what}.{end}", getattr(figure, end), most)
    side = "most" if name == "free_bps" else "least"
    raise ValueError(
        f"{what}: pessimistic is {_told(figure.pessimistic)} and median {_told(figure.median)}; requirements are held "
        f"against pessimistic, which must be at {side} the median"
    )


def _fits(value: Any, most: float) -> bool:
    number = isinstance(value, (int, float, Real))  # the last is slow, and for numpy's
    return number and not isinstance(value, bool) and 0 <= value <= most and value <= LARGEST


def _told(value: Any) -> str:
    """A number as it is: units have letters for what they are not."""
    return f"{float(value):g}" if isinstance(value, float) else repr(value)
