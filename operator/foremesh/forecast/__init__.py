"""Says where every series will be: forecasters, the gate that mixes them, fits in other processes.

Forecasts are pure functions of their inputs, clock included; only ``refit`` waits for anything. Prophet is imported in
the processes that fit and nowhere else.
"""

from foremesh.forecast.fitted import FittedModels, refit
from foremesh.forecast.forecasters import Forecaster, LastValue, RollingMedian
from foremesh.forecast.predict import HorizonError, quantile_forecast
from foremesh.forecast.queueing import queueing_ms

__all__ = [
    "FittedModels",
    "Forecaster",
    "HorizonError",
    "LastValue",
    "RollingMedian",
    "quantile_forecast",
    "queueing_ms",
    "refit",
]
