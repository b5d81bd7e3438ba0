"""How willing the planner is to move, as the configuration says: the same in the operator, offline and simulated."""

from __future__ import annotations

from typing import Any

from foremesh.routing.demand import PlannerSettings
from foremesh.settings import PlanningSettings

MOVE_S = 30.0
"""Seconds from a plan to traffic on another path: labels are set up, probed, switched to and acknowledged in a few, and
a gateway may be slow."""

PLANS = 2
"""Plans, of which one still has to come before a forecast does for a circuit to wait: who leaves with the very last one
is late where the forecast is, or finds others in his way."""


def planner_settings(planning: PlanningSettings, **others: Any) -> PlannerSettings:
    """The planner's settings; ``others`` are those that people do not configure."""
    return PlannerSettings(
        margin=planning.margin,
        move_worth=planning.move_worth,
        dwell_s=planning.dwell,
        most_moves=planning.most_moves,
        next_s=PLANS * planning.interval + MOVE_S,
        **others,
    )
