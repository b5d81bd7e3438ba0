"""The same questions put to HiGHS as mixed-integer programs, written from the definitions and not from the search: one
path at the least cost, and as many demands as links hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import highspy
import numpy as np

from foremesh.model.link import MeshGraph
from foremesh.model.resource import Role
from foremesh.routing.ask import Ask
from routing.worlds import Judge

GAP = 1e-9
"""Within which HiGHS has to prove that nothing is better: share of the cost, and units."""


class Program:
    """Rows and columns as they come in; all columns lie between 0 and 1."""

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.integral: list[bool] = []
        self.rows: list[tuple[float, float, Mapping[int, float]]] = []
        self.taken: list[float] = []
        """Columns of the best answer that was found; empty if none was."""

    def column(self, cost: float, *, integral: bool = True) -> int:
        self.costs.append(cost)
        self.integral.append(integral)
        return len(self.costs) - 1

    def row(self, low: float, entries: Mapping[int, float], high: float) -> None:
        self.rows.append((low, high, entries))

    def least(self, *, gap: float = GAP, most_s: float = math.inf) -> float | None:
        """The least cost; None if nothing keeps all rows.

        Args:
            gap: Within which HiGHS has to prove it.
            most_s: Seconds after which the least that it has not ruled out is the answer; -inf if that is anything.

        Raises:
            RuntimeError: If HiGHS proves neither.
        """
        solver = highspy.Highs()
        solver.silent()
        options = (("threads", 1), ("mip_rel_gap", gap), ("mip_abs_gap", gap), ("time_limit", most_s))
        for option, value in options:
            solver.setOptionValue(option, value)
        count = len(self.costs)
        solver.addVars(count, np.zeros(count), np.ones(count))
        columns = np.arange(count, dtype=np.int32)
        solver.changeColsCost(count, columns, np.array(self.costs))
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        solver.changeColsIntegrality(count, columns, np.array([kinds[one] for one in self.integral]))
        for low, high, entries in self.rows:
            where = np.fromiter(entries.keys(), dtype=np.int32)
            solver.addRow(low, high, len(entries), where, np.fromiter(entries.values(), dtype=np.float64))
        solver.run()
        solution = solver.getSolution()
        self.taken = list(solution.col_value) if solution.value_valid else []
        status = solver.getModelStatus()
        if status == highspy.HighsModelStatus.kOptimal:
            return float(solver.getObjectiveValue())
        if status == highspy.HighsModelStatus.kTimeLimit:
            return float(solver.getInfo().mip_dual_bound)
        if status == highspy.HighsModelStatus.kInfeasible:
            return None
        raise RuntimeError(f"HiGHS ended with {status}; nothing is proven")


def least_cost(graph: MeshGraph, ask: Ask) -> float | None:
    """The cost of the cheapest path that meets an Ask; None if there is none. Of policies, ``through`` is not asked.

    A link, a first and a last gateway each are a column of 0 or 1; what flows into a gateway flows out. Loops need no
    rows of their own: they cost something, or nothing, and keep no limit that the path without them does not.
    """
    assert not ask.through, "a loop could pass a gateway that the path does not"
    judge, needs, program = Judge(graph, ask), ask.requirements, Program()
    allowed = {one.id for one in graph.nodes if judge.allowed(one.id)}
    starts = {
        id: program.column(judge.start_cost(id))
        for id, rtt_ms in ask.sources.items()
        if id in allowed and (needs.max_latency is None or rtt_ms is not None)
    }
    ends = {
        id: program.column(judge.end_cost(id))
        for id, rtt_ms in ask.destinations.items()
        if id in allowed and (needs.max_latency is None or rtt_ms is not None)
    }
    links = {}
    for one in graph.links:
        figures = (
            (needs.max_latency, one.rtt_ms),
            (needs.max_loss, one.loss),
            (needs.max_egress_price, one.egress_price),
        )
        known = all(limit is None or figure is not None for limit, figure in figures)
        room = True
        for least, way in ((needs.min_bandwidth, one), (needs.reverse, judge.by_id.get(one.id.reverse))):
            free = judge.free(way)
            room = room and (least is None or (free is not None and free >= least))
        if known and room and {one.id.src, one.id.dst} <= allowed:
            links[program.column(judge.link_cost(one) + judge.exposure)] = one
    if not starts or not ends:
        return None
    # With an exposure, a path of no links must not gain by the one that it does not have.
    none = program.column(judge.exposure, integral=False)
    program.row(1.0, {none: 1.0, **dict.fromkeys(links, 1.0)}, math.inf)
    program.row(1.0, dict.fromkeys(starts.values(), 1.0), 1.0)
    program.row(1.0, dict.fromkeys(ends.values(), 1.0), 1.0)
    for gateway in graph.nodes:
        leaving = [column for column, one in links.items() if one.id.src == gateway.id]
        coming = [column for column, one in links.items() if one.id.dst == gateway.id]
        balance = {**dict.fromkeys(leaving, 1.0), **dict.fromkeys(coming, -1.0)}
        for column, sign in ((starts.get(gateway.id), -1.0), (ends.get(gateway.id), 1.0)):
            if column is not None:
                balance[column] = sign
        program.row(0.0, balance, 0.0)
        if gateway.role is Role.EDGE:
            for columns, end in ((leaving, starts.get(gateway.id)), (coming, ends.get(gateway.id))):
                only = {} if end is None else {end: -1.0}
                program.row(-math.inf, {**dict.fromkeys(columns, 1.0), **only}, 0.0)
    if needs.max_latency is not None:
        sums = {column: one.rtt_ms.pessimistic + judge.added_ms(one) for column, one in links.items() if one.rtt_ms}
        offsets = {column: ask.sources[id] or 0.0 for id, column in starts.items()}
        offsets |= {column: ask.destinations[id] or 0.0 for id, column in ends.items()}
        _limit(program, {**sums, **offsets}, float(needs.max_latency))
    if needs.max_loss is not None:
        lost = {column: -math.log1p(-one.loss.pessimistic) for column, one in links.items() if one.loss}
        _limit(program, lost, -math.log1p(-needs.max_loss))
    if needs.max_egress_price is not None:
        prices = {column: one.egress_price for column, one in links.items() if one.egress_price is not None}
        _limit(program, prices, float(needs.max_egress_price))
    if needs.max_hops is not None:
        _limit(program, dict.fromkeys(links, 1.0), float(needs.max_hops))
    found = program.least()
    return None if found is None else found - judge.exposure


def _limit(program: Program, sums: Mapping[int, float], most: float) -> None:
    """Scaled to a limit of 1, for HiGHS allows a millionth of an error."""
    program.row(-math.inf, {column: value / most for column, value in sums.items()}, 1.0)


@dataclass(frozen=True)
class Joint:
    """Demands that each want one path with bandwidth and, some of them, within a latency, over links that all share."""

    graph: MeshGraph
    asks: Sequence[Ask]

    def most_served_bps(self, *, gap: float, most_s: float = math.inf) -> float:
        """The most bandwidth that fits, or what is proven not to be exceeded."""
        program, placed = self._program()
        total = sum(ask.traffic_bps[0] for ask in self.asks)
        program.costs = [0.0] * len(program.costs)
        for column, ask in zip(placed, self.asks, strict=True):
            program.costs[column] = -ask.traffic_bps[0] / total
        found = program.least(gap=gap, most_s=most_s)
        assert found is not None, "to serve nobody is always possible"
        return min(1.0, -found) * total

    def least_cost(self, served: Sequence[bool], *, gap: float, most_s: float = math.inf) -> float | None:
        """The least that it costs to serve these, or what is proven not to be undercut; None if nothing is proven."""
        program, placed = self._program()
        for column, is_served in zip(placed, served, strict=True):
            program.row(float(is_served), {column: 1.0}, float(is_served))
        found = program.least(gap=gap, most_s=most_s)
        assert found is not None, "these are served already"
        return found if found > 0 else None

    def mean_cost(self, bps: float, *, gap: float, most_s: float = math.inf) -> float | None:
        """What a demand costs on average where so much is served, of whomever, at the least cost in all; None if no
        such answer is found or nothing is proven in time."""
        program, placed = self._program()
        shares = {column: ask.traffic_bps[0] / bps for column, ask in zip(placed, self.asks, strict=True)}
        program.row(1.0 - GAP, shares, math.inf)
        found = program.least(gap=gap, most_s=most_s)
        assert found is not None, "it was served before"
        if not program.taken or found <= 0:
            return None
        return found / sum(program.taken[column] for column in placed)

    def _program(self) -> tuple[Program, list[int]]:
        """Costs as the sum of all; and the column of each demand that says whether it is served."""
        program = Program()
        taken: dict[object, dict[int, float]] = {one.id: {} for one in self.graph.links}
        served = []
        for ask in self.asks:
            judge = Judge(self.graph, replace(ask, reserved_bps={}))
            ((source, before_ms),), ((end, after_ms),) = ask.sources.items(), ask.destinations.items()
            placed = program.column(judge.start_cost(source) + judge.end_cost(end))
            served.append(placed)
            columns = {
                program.column(judge.link_cost(one)): one
                for one in self.graph.links
                if one.id.dst != source and one.id.src != end
            }
            for gateway in self.graph.nodes:
                balance = {column: 1.0 for column, one in columns.items() if one.id.src == gateway.id}
                balance |= {column: -1.0 for column, one in columns.items() if one.id.dst == gateway.id}
                sign = (gateway.id == end) - (gateway.id == source)
                program.row(0.0, balance | ({placed: float(sign)} if sign else {}), 0.0)
            for column, one in columns.items():
                taken[one.id][column] = ask.traffic_bps[0]
            if ask.requirements.max_latency is not None:
                left_ms = float(ask.requirements.max_latency) - (before_ms or 0.0) - (after_ms or 0.0)
                sums = {column: one.rtt_ms.pessimistic for column, one in columns.items() if one.rtt_ms}
                _limit(program, sums, left_ms)
        for one in self.graph.links:
            assert one.free_bps is not None
            _limit(program, taken[one.id], one.free_bps.pessimistic)
        return program, served
