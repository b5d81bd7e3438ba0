"""Two resolutions from one source: the past is read rarely, the newest minutes each time."""

import numpy as np
import pytest

from foremesh.model.series import Metric, SeriesBatch
from foremesh.telemetry import LinkHistory, MemorySource, Samples, TelemetryUnavailable

NOW_S = 1_700_000_000.0
DAY_S = 86400.0


class Asked(MemorySource):
    """A source that remembers the steps it was asked for, and can refuse one of them."""

    def __init__(self) -> None:
        times_s = np.arange(NOW_S - DAY_S, NOW_S + DAY_S, 15.0)
        super().__init__({Metric.RTT: {"a": Samples(times_s, np.full(len(times_s), 20.0))}})
        self.steps_s: list[float] = []
        self.refused_step_s = 0.0

    async def read(self, metric: Metric, *, end_s: float, window_s: float, step_s: float) -> SeriesBatch:
        self.steps_s.append(step_s)
        if step_s == self.refused_step_s:
            raise TelemetryUnavailable("memory:", "refused")
        return await super().read(metric, end_s=end_s, window_s=window_s, step_s=step_s)


@pytest.fixture
def source() -> Asked:
    return Asked()


@pytest.fixture
def history(source: Asked) -> LinkHistory:
    return LinkHistory(source, recent_step_s=15, recent_window_s=900, past_step_s=300, past_window_s=DAY_S)


async def test_the_past_is_read_again_only_when_due(source: Asked, history: LinkHistory) -> None:
    series = await history.read(Metric.RTT, now_s=NOW_S)
    assert series.recent.values.shape == (1, 60)
    assert series.past.values.shape == (1, 288)
    assert series.newest_s == NOW_S
    for minute in range(1, 30):
        series = await history.read(Metric.RTT, now_s=NOW_S + 60 * minute)
        assert series.recent.end_s == NOW_S + 60 * minute
        assert series.past.end_s == NOW_S
    assert source.steps_s.count(300) == 1
    assert (await history.read(Metric.RTT, now_s=NOW_S + 1800)).past.end_s == NOW_S + 1800
    assert source.steps_s.count(15) == 31
    assert source.steps_s.count(300) == 2


async def test_a_past_that_cannot_be_read_keeps_the_one_before(
    source: Asked, history: LinkHistory, caplog: pytest.LogCaptureFixture
) -> None:
    source.refused_step_s = 300
    series = await history.read(Metric.RTT, now_s=NOW_S)
    assert series.past.keys == ()
    assert series.recent.keys == ("a",)
    assert "past not read metric=rtt" in caplog.text
    await history.read(Metric.RTT, now_s=NOW_S + 30)
    assert source.steps_s.count(300) == 1, "not asked again at once"
    source.refused_step_s = 0
    assert (await history.read(Metric.RTT, now_s=NOW_S + 60)).past.keys == ("a",)
    source.refused_step_s = 300
    assert (await history.read(Metric.RTT, now_s=NOW_S + 7200)).past.end_s == NOW_S + 60


async def test_without_newest_samples_nothing_is_read(source: Asked, history: LinkHistory) -> None:
    source.outage = "away"
    with pytest.raises(TelemetryUnavailable, match="away"):
        await history.read(Metric.RTT, now_s=NOW_S)
    assert source.steps_s == [15]
    source.outage = ""
    assert (await history.read(Metric.RTT, now_s=NOW_S)).past.keys == ("a",)


async def test_no_series_means_no_newest_sample(history: LinkHistory) -> None:
    assert (await history.read(Metric.LOSS, now_s=NOW_S)).newest_s is None


async def test_the_past_comes_from_where_it_is_kept(source: Asked) -> None:
    kept = Asked()
    history = LinkHistory(
        source, recent_step_s=15, recent_window_s=900, past_step_s=300, past_window_s=DAY_S, past_source=kept
    )
    series = await history.read(Metric.RTT, now_s=NOW_S)
    assert series.past.values.shape == (1, 288)
    assert (source.steps_s, kept.steps_s) == ([15], [300])


async def test_while_it_does_not_answer_the_first_one_does_and_it_is_asked_again(
    source: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Asked()
    kept.outage = "no quorum"
    history = LinkHistory(
        source, recent_step_s=15, recent_window_s=900, past_step_s=300, past_window_s=DAY_S, past_source=kept
    )
    assert (await history.read(Metric.RTT, now_s=NOW_S)).past.end_s == NOW_S
    assert (source.steps_s, kept.steps_s) == ([15, 300], [300])
    assert "no quorum" in caplog.text
    await history.read(Metric.RTT, now_s=NOW_S + 60)
    assert (source.steps_s, kept.steps_s) == ([15, 300, 15], [300, 300]), (
        "a week is not read from the first each minute"
    )
    kept.outage = ""
    assert (await history.read(Metric.RTT, now_s=NOW_S + 120)).past.end_s == NOW_S + 120
    assert source.steps_s.count(300) == 1


async def test_a_long_past_is_not_given_up_for_a_short_one_at_once(source: Asked) -> None:
    kept = Asked()
    history = LinkHistory(
        source, recent_step_s=15, recent_window_s=900, past_step_s=300, past_window_s=DAY_S, past_source=kept
    )
    await history.read(Metric.RTT, now_s=NOW_S)
    kept.outage = "away"
    assert (await history.read(Metric.RTT, now_s=NOW_S + 7200)).past.end_s == NOW_S
    assert (await history.read(Metric.RTT, now_s=NOW_S + 4 * 3600 + 60)).past.end_s == NOW_S + 4 * 3600 + 60
    source.refused_step_s = 300
    assert (await history.read(Metric.RTT, now_s=NOW_S + 9 * 3600)).past.end_s == NOW_S + 4 * 3600 + 60


@pytest.mark.parametrize("is_away", [True, False], ids=["past-away", "past-empty"])
async def test_that_it_can_be_read_nowhere_is_said_once_and_asked_again(
    source: Asked, is_away: bool, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = Asked() if is_away else MemorySource({})
    both = LinkHistory(
        source, recent_step_s=15, recent_window_s=900, past_step_s=300, past_window_s=DAY_S, past_source=elsewhere
    )
    source.refused_step_s = 300
    if isinstance(elsewhere, Asked):
        elsewhere.refused_step_s = 300
    assert (await both.read(Metric.RTT, now_s=NOW_S)).past.keys == ()
    assert caplog.text.count("past not read metric=rtt") == 1
    source.refused_step_s = 0
    assert (await both.read(Metric.RTT, now_s=NOW_S + 60)).past.keys == ("a",)


async def test_where_nothing_is_kept_yet_the_first_one_serves(source: Asked) -> None:
    kept = Asked()
    kept.series = {}
    history = LinkHistory(
        source, recent_step_s=15, recent_window_s=900, past_step_s=300, past_window_s=DAY_S, past_source=kept
    )
    assert (await history.read(Metric.RTT, now_s=NOW_S)).past.keys == ("a",)
    assert (source.steps_s, kept.steps_s) == ([15, 300], [300])
    await history.read(Metric.RTT, now_s=NOW_S + 60)
    assert kept.steps_s == [300], "an answer serves as long as any"
