"""The report tells all there is to tell, keeps to what can be looked at, and is the same every time."""

import re
from dataclasses import replace

import numpy as np
import pytest

from drawing import scenes
from foremesh.drawing import Report, ReportIntent, ReportMove, ReportPolicy, Series, render_report
from foremesh.drawing.axes import extremes, nice_ticks, runs
from foremesh.drawing.report import MOST_PLOTS, most_interesting

MOST_BYTES = 3_000_000


def plots(text: str) -> list[str]:
    return re.findall(r'<svg class="fm plot forecast".*?</svg>', text, re.DOTALL)


def test_report_is_the_same_every_time() -> None:
    assert render_report(scenes.report()) == render_report(scenes.report())


@pytest.mark.parametrize(
    "said",
    [
        "Foremesh: a day",
        "The network.",
        "The planner.",
        "maxLatency 45ms",
        "no path: nothing fits",
        "saves 4.2 ms",
        "how oracle chooses",
        "table inet foremesh",
        "limit 45.0 ms",
        "requirements missed for 30 min",
        "Forecast at the end by additive, last-value. The median was off by 0.8 ms on average; the round trip was up "
        "to p90 in 93 % of the minutes.",
        "gap closed: a share",
        "moves: predictive wins",
    ],
)
def test_everything_is_told(said: str) -> None:
    assert said in render_report(scenes.report())


def cells(text: str, first: str) -> dict[str, str]:
    """The cells of the row that begins with a text, by title of their column."""
    row = next(one for one in re.findall(r"<tr.*?</tr>", text, re.DOTALL) if re.match(rf"<tr[^>]*><td>.*?{first}", one))
    found = re.findall(r'<td[^>]*data-label="([^"]*)"[^>]*>(.*?)</td>', row, re.DOTALL)
    return {title: re.sub("<.*?>", "", content) for title, content in found}


def test_minutes_of_intents_that_never_had_a_path_stand_apart() -> None:
    text = render_report(scenes.report())
    never, served = cells(text, "<strong>never"), cells(text, "<strong>orders")
    assert (never["Minutes missed"], never["Minutes without a path"]) == ("–", "1,440")
    assert (served["Minutes missed"], served["Minutes without a path"]) == ("40", "–")
    policy = cells(text, "reactive</td>")
    assert (policy["Minutes missed"], policy["Never had a path"]) == ("80", "1,440")
    bars = dict(re.findall(r"<figcaption>([^<]*)</figcaption><div class=\"bars\">(.*?)</figure>", text, re.DOTALL))
    said = {title: re.findall(r'class="n">(.*?)<', panel) for title, panel in bars.items()}
    assert said["Minutes in which a requirement was missed, of intents with a path"] == ["40", "80", "120"]
    assert said["Minutes of intents that never had a path"] == ["1,440"] * 3


def test_where_all_intents_have_paths_there_is_no_word_on_those_that_have_none() -> None:
    report = scenes.report((replace(scenes.intent(), unplaced_minutes=0.0),))
    policies = tuple(replace(one, violation_minutes=40.0, unplaced_minutes=0.0) for one in report.policies)
    text = render_report(replace(report, policies=policies))
    assert "without a path" not in text
    assert "ever had a path" not in text


def test_gap_is_not_defined_where_nobody_has_one() -> None:
    report = scenes.report()
    policies = tuple(replace(one, gap_closed=None) for one in report.policies)
    assert report.gap_text not in render_report(replace(report, policies=policies))


def test_forecasts_of_intents_without_a_plot_are_judged_too() -> None:
    text = render_report(scenes.report(tuple(scenes.intent(f"shop/intent-{index:02d}") for index in range(20))))
    row = cells(text[text.index("Forecasts of all 20 intents") :], "intent-19")
    assert row == {"Forecast by": "additive, last-value", "Median off by": "0.8 ms", "Minutes up to p90": "93 %"}


def test_peaks_beyond_the_plot_are_told_in_figures() -> None:
    assert "↑ 200 ms" in render_report(scenes.report((scenes.intent(),)))


def test_limit_is_drawn_where_it_is_near_and_told_where_it_is_far() -> None:
    near, far = (render_report(scenes.report((replace(scenes.intent(), limit_ms=limit),))) for limit in (45.0, 400.0))
    assert 'class="limit"' in plots(near)[0]
    assert 'class="limit"' not in plots(far)[0]
    assert "limit 400 ms, far above" in plots(far)[0]


def test_many_intents_have_plots_only_where_something_happened() -> None:
    calm = tuple(
        replace(scenes.intent(f"shop/calm-{index:02d}", moves=0), violation_minutes=0.0, moves=())
        for index in range(30)
    )
    busy = tuple(scenes.intent(f"shop/busy-{index:02d}", moves=index) for index in range(10))
    text = render_report(scenes.report(calm + busy, policies=1))
    assert len(plots(text)) == MOST_PLOTS
    assert f"{40 - MOST_PLOTS} more are left out" in text
    for one in busy:
        assert any(one.name in plot for plot in plots(text))
    assert all(f"calm-{index:02d}" in text for index in range(30)), "the table has them all"
    assert len(text.encode()) < MOST_BYTES


def test_those_with_most_minutes_missed_come_first_then_those_that_moved() -> None:
    made = [
        ReportIntent(name=name, asked="", violation_minutes=missed, moves=(ReportMove(0.0, "a", "b"),) * moves)
        for name, missed, moves in (("calm", 0.0, 0), ("moved", 0.0, 3), ("late", 9.0, 0), ("unknown", None, 0))
    ]
    assert [one.name for one in most_interesting(made, 2)] == ["late", "moved"]
    assert most_interesting(made, 4) == tuple(made)


def test_report_of_many_days_and_a_large_mesh_stays_small() -> None:
    intents = tuple(scenes.intent(f"shop/intent-{index:02d}", minutes=30 * 1440, moves=200) for index in range(40))
    report = scenes.report(intents, mesh=scenes.large(100))
    texts = {"nftables": "x" * 100_000}
    report = replace(report, applied=tuple(replace(report.applied[0], texts=texts) for _ in range(100)))
    text = render_report(report)
    assert len(text.encode()) < MOST_BYTES
    assert "more members are left out" in text


def test_report_without_policies_moves_or_series_says_so() -> None:
    bare = ReportIntent(name="shop/orders", asked="any path", path="ams > fra")
    report = Report(title="t", summary="s", simulated=(), real=(), mesh=scenes.small(), intents=(bare,))
    text = render_report(report)
    assert "No circuit moved" in text
    assert plots(text) == []
    assert "unknown" in text


def test_single_policy_has_a_table_and_no_comparison() -> None:
    text = render_report(scenes.report(policies=1))
    assert "plot bars" not in text
    assert "how predictive chooses" in text


def test_gap_that_is_not_worked_out_is_a_dash_and_a_negative_one_is_told() -> None:
    report = replace(
        scenes.report(), policies=(ReportPolicy("a", gap_closed=None), ReportPolicy("b", gap_closed=-0.25))
    )
    text = render_report(report)
    assert "-25 %" in text
    assert "nan" not in text


def test_hostile_words_stay_text() -> None:
    bad = scenes.HOSTILE
    one = replace(scenes.intent(), name=bad, asked=bad, source=bad, path=bad, why_not=bad)
    one = replace(one, moves=(ReportMove(scenes.START_S + 60, bad, bad, bad),))
    report = scenes.report((one,), mesh=scenes.hostile())
    report = replace(
        report,
        title=bad,
        summary=bad,
        simulated=(bad,),
        real=(bad,),
        policies=(ReportPolicy(bad, bad, 1.0, gap_closed=0.5),),
    )
    report = replace(report, intents=(replace(one, forecasters=(bad,)),), verdict=(bad,), gap_text=bad)
    text = render_report(replace(report, policy=bad))
    scenes.assert_harmless(text, scripts=1)


def test_nothing_is_loaded_from_anywhere() -> None:
    text = render_report(scenes.report())
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}
    policies = [
        one["content"] for tag, one in scenes.elements(text) if one.get("http-equiv") == "Content-Security-Policy"
    ]
    assert ["default-src 'none'" in str(one) for one in policies] == [True]


def test_series_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one and the same length"):
        Series(0.0, np.zeros(3), np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="positive"):
        Series(0.0, np.zeros(3), np.zeros(3), np.zeros(3), step_s=0)


def test_thinning_keeps_peaks_and_gaps() -> None:
    values = np.zeros(1000)
    values[500], values[501] = 9.0, -4.0
    values[700:720] = np.nan
    lines = extremes(values, 100)
    assert len(lines) == 2
    points = dict(point for line in lines for point in line)
    assert points[500.0] == 9.0
    assert points[501.0] == -4.0
    assert max(lines[0])[0] < 700 <= 720 <= min(lines[1])[0]
    assert extremes(np.full(5, np.nan), 100) == []


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 10, [0, 5, 10]), (0, 0, [0]), (31, 58, [40, 50]), (0, 0.9, [0, 0.5])]
)
def test_ticks_are_round_numbers_within(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high, 3) == pytest.approx(ticks)


def test_stretches_of_true() -> None:
    assert runs([True, False, True, True]) == [(0, 1), (2, 4)]
    assert runs([]) == []
