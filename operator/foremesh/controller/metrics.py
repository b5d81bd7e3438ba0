"""The operator's own metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

PLANS = Counter("foremesh_plans_total", "Plans made")
PLANS_MADE = Counter("foremesh_plans_made_total", "Plans by how they were made, and why from nothing", ["made", "why"])
PLAN_SECONDS = Histogram(
    "foremesh_plan_seconds", "Seconds from reading the world to published configs", buckets=(0.1, 0.3, 1, 3, 10, 30)
)
ATTEMPTS_FAILED = Counter("foremesh_attempts_failed_total", "Attempts to plan or publish that failed", ["dependency"])
DEPENDENCY_UP = Gauge("foremesh_dependency_up", "1 while a dependency answers", ["dependency"])
MOVES = Counter("foremesh_circuit_moves_total", "Circuits given another path by a plan")
FAILOVERS = Counter("foremesh_circuit_failovers_total", "Circuits whose ends went to the standby by themselves")
TELEMETRY_AGE = Gauge("foremesh_telemetry_age_seconds", "Age of the newest link sample that the operator has read")
FORECASTS = Gauge("foremesh_forecast_series", "Series by metric and the model that forecasts them", ["metric", "model"])
CAPACITY = Gauge(
    "foremesh_link_capacity_bps", "What both gateways of a link declare they can carry", ["src", "dst", "link"]
)
INTENTS = Gauge("foremesh_intents", "Intents by their Ready condition", ["ready"])
