from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio, Seconds, Unit, UnitError


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        (Milliseconds, "40ms", 40),
        (Milliseconds, "1.5s", 1500),
        (Milliseconds, "800us", 0.8),
        (Milliseconds, " 40 ms ", 40),
        (Seconds, "1d", 86400),
        (Seconds, "5m", 300),
        (Seconds, "250ms", 0.25),
        (Bandwidth, "200M", 2e8),
        (Bandwidth, "1.5G", 1.5e9),
        (Bandwidth, "64000", 64000),
        (Bandwidth, 64000, 64000),
        (Ratio, "0.5%", 0.005),
        (Ratio, "0.005", 0.005),
        (Ratio, "100%", 1),
        (Price, "0.09", 0.09),
        (Price, 0.09, 0.09),
    ],
)
def test_reads(unit: type[Unit], text: object, value: float) -> None:
    parsed = unit.parse(text)
    assert type(parsed) is unit
    assert float(parsed) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        pytest.param(Milliseconds, "40", id="a-duration-needs-a-unit"),
        pytest.param(Milliseconds, "1m", id="a-network-duration-is-no-minutes"),
        pytest.param(Milliseconds, "-40ms", id="negative"),
        pytest.param(Milliseconds, "ms", id="no-number"),
        pytest.param(Milliseconds, "", id="empty"),
        pytest.param(Milliseconds, "1e3ms", id="no-exponents"),
        pytest.param(Milliseconds, None, id="nothing"),
        pytest.param(Milliseconds, "nan", id="not-a-number"),
        pytest.param(Bandwidth, "200m", id="m-is-not-M"),
        pytest.param(Bandwidth, "200Mi", id="no-binary-suffixes"),
        pytest.param(Bandwidth, "٢٠٠M٠", id="digits-after-the-suffix"),
        pytest.param(Ratio, "101%", id="over-everything"),
        pytest.param(Ratio, "1.01", id="over-one"),
        pytest.param(Price, "$0.09", id="no-currency"),
    ],
)
def test_refuses_with_an_example_of_what_would_do(unit: type[Unit], text: object) -> None:
    with pytest.raises(UnitError) as refused:
        unit.parse(text)
    assert (refused.value.text, refused.value.expected) == (text, unit.example)
    assert unit.example in str(refused.value)


SUFFIXED = st.one_of(
    *(
        st.tuples(st.just(unit), st.decimals(0, most, places=9), st.sampled_from(sorted(unit.factors)))
        for unit, most in ((Milliseconds, 60), (Seconds, 9999), (Bandwidth, 9999), (Ratio, 1), (Price, 1000))
    )
)


@given(SUFFIXED)
def test_what_is_written_reads_back_to_six_digits(case: tuple[type[Unit], Decimal, str]) -> None:
    unit, number, suffix = case
    value = unit.parse(f"{number:f}{suffix}")
    assert float(unit.parse(str(value))) == pytest.approx(float(value), rel=1e-5)


@given(st.sampled_from([Milliseconds, Seconds, Bandwidth, Ratio, Price]), st.text(max_size=12))
def test_any_text_is_a_finite_quantity_or_refused_by_name(unit: type[Unit], text: str) -> None:
    try:
        value = unit.parse(text)
    except UnitError:
        return
    assert 0 <= value < float("inf")
