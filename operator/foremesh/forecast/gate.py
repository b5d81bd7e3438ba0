"""The gate: how far each forecaster is to be believed now, per series and distance, and how wide the truth lies around.

Forecasters are experts, of whom each truth tells how far they were off. Their predictions are mixed with weights that
fall steeply with their recent errors, so that a mixture of near equals moves slowly and a clear winner speaks alone
("prediction with expert advice": Cesa-Bianchi & Lugosi, "Prediction, Learning, and Games", 2006, section 2). Quantiles
follow the share of truths beyond them (quantile tracking: Angelopoulos, Candes & Tibshirani, "Conformal PID Control for
Time Series Prediction", 2023, after Gibbs & Candes, "Adaptive Conformal Inference Under Distribution Shift", 2021).

Arrays in, arrays out; no clock. A whole past in one go, or sample by sample as they come: it is the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast import kernels
from foremesh.forecast.kernels import Floats32
from foremesh.model.series import Floats

HALF_LIFE_S = 43200.0
"""Seconds after which an error counts half: on recorded links and servers a quarter of a day was too noisy, and two
days too slow, each by about a percent."""


@dataclass(frozen=True, eq=False)
class Mixed:
    """What a gate made of predictions, at several instants; in the metric's unit."""

    middle: Floats
    """Shape (series, instants, lags); NaN where not even the first expert said anything."""
    spread: Floats
    """What to add for the lowest and the highest quantile at usual volatility, shape (2, series, instants, lags)."""


@dataclass(frozen=True, eq=False)
class Gate:
    """What is known of every expert's errors. Immutable; ``observe`` returns the next.

    The first expert is the naive one, which stands in for one that says nothing, and for all until their errors are
    known.
    """

    handicap: Floats32
    """Per expert."""
    lags: NDArray[np.int64]
    """Samples ahead, ascending."""
    step_s: float
    """Seconds between samples."""
    stride: int
    """Predictions made at every so many samples are remembered and compared with what came."""
    decay: float
    """What is left of an error's weight a stride later."""
    tick: int
    """Samples since 1970 up to the newest one seen, were they always taken at this step."""
    error: Floats32
    """Recent mean absolute errors, of the mixture last; shape (experts + 1, series, lags)."""
    mass: Floats32
    """Truths that they are made of, the older ones counted less; shape (series, lags)."""
    spread: Floats32
    """Lowest and highest quantile of the mixture's errors at usual volatility, shape (2, series, lags)."""
    pending: Floats32
    """Predictions whose truth is not known yet: experts, mixture, volatility; shape (experts + 2, series, places). Each
    lag has its places, one after the other, and each prediction the place of its instant there."""

    @classmethod
    def new(
        cls, series: int, handicap: Floats, lags: NDArray[np.int64], *, step_s: float, stride: int, tick: int
    ) -> Gate:
        """A gate that has seen nothing before a tick."""
        experts = len(handicap)
        return cls(
            handicap=np.asarray(handicap, dtype=np.float32),
            lags=lags,
            step_s=step_s,
            stride=stride,
            decay=0.5 ** (stride * step_s / HALF_LIFE_S),
            tick=tick,
            error=np.zeros((experts + 1, series, len(lags)), dtype=np.float32),
            mass=np.zeros((series, len(lags)), dtype=np.float32),
            spread=np.zeros((2, series, len(lags)), dtype=np.float32),
            pending=np.full((experts + 2, series, int(np.sum(lags // stride + 1))), np.nan, dtype=np.float32),
        )

    def weights(self) -> Floats:
        """How far each expert is believed, shape (experts, series, lags); they sum to 1."""
        weights = np.empty((len(self.handicap), *self.mass.shape))
        kernels.weigh(self.error, self.mass, self.handicap, weights)
        return weights

    @property
    def span_s(self) -> float:
        """Seconds that errors are made of at most, older ones counted less."""
        return self.stride * self.step_s / (1 - self.decay)

    def observe(self, values: Floats, at: NDArray[np.int64], predicted: Floats, factor: Floats) -> tuple[Gate, Mixed]:
        """Take new samples of all series, and what experts predict at some of them.

        Args:
            values: Samples after the newest one seen, one a tick, shape (series, samples); NaN where unknown.
            at: Which of them something is predicted at, ascending. What is predicted between strides is mixed, and not
                remembered.
            predicted: Shape (experts, series, instants, lags); NaN where an expert says nothing.
            factor: Volatility, shape (series, instants, lags).

        Returns:
            The next gate; and mixtures, each by what was known at its instant.
        """
        given = _stood_in(predicted)
        next_ = replace(
            self,
            tick=self.tick + values.shape[1],
            error=self.error.copy(),
            mass=self.mass.copy(),
            spread=self.spread.copy(),
            pending=self.pending.copy(),
        )
        middle = np.empty(given.shape[1:])
        spread = np.empty((2, *given.shape[1:]), dtype=np.float32)
        kernels.observe(
            np.require(values, np.float32, ["W"]),
            at,
            given,
            np.ascontiguousarray(factor),
            self.lags,
            np.concatenate([[0], np.cumsum(self.lags // self.stride + 1)]),
            self.stride,
            self.tick,
            self.decay,
            self.handicap,
            next_.error,
            next_.mass,
            next_.spread,
            next_.pending,
            middle,
            spread,
        )
        return next_, Mixed(middle, spread)


def mix(predicted: Floats, weights: Floats) -> Floats:
    """A mixture of predictions.

    Args:
        predicted: Shape (experts, series, instants, steps); NaN where an expert says nothing.
        weights: Shape (experts, series, steps).
    """
    # Experts of one mind give just what they say, whatever the weights' last digits.
    given = _stood_in(predicted)
    mixture: Floats = given[0] + np.sum((given - given[0]) * weights[:, :, None], axis=0)
    return mixture


def _stood_in(predicted: Floats) -> Floats:
    there: Floats = np.where(np.isfinite(predicted), predicted, predicted[0])
    return np.ascontiguousarray(there)
