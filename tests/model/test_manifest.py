"""Manifests to structures and back, for every kind: hypothesis makes specs, the model writes and reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.model.circuit import Circuit, CircuitSpec
from foremesh.model.intent import Intent, IntentSpec
from foremesh.model.manifest import ManifestError, Spec, decode, encode, read, write
from foremesh.model.meta import LabelSelector, Meta, Ref
from foremesh.model.policy import Policy, PolicySpec
from foremesh.model.resource import Resource, ResourceSpec
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio, Unit

EXACT = {
    Milliseconds: st.integers(1, 60_000),
    Bandwidth: st.integers(1, 999).map(lambda number: number * 10**6),
    Ratio: st.integers(1, 99).map(lambda percent: percent / 100),
    Price: st.integers(0, 1000).map(lambda cents: cents / 100),
}
"""Quantities that six digits hold: what is written must read back equal."""

for unit, numbers in EXACT.items():
    st.register_type_strategy(unit, numbers.map(lambda number, unit=unit: unit.parse(str(unit(number)))))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))
st.register_type_strategy(LabelSelector, st.builds(LabelSelector, match_labels=LABELS))


@pytest.mark.parametrize("spec", [ResourceSpec, IntentSpec, CircuitSpec, PolicySpec])
@given(data=st.data())
def test_whatever_a_spec_holds_is_read_back_from_what_is_written(spec: type[Spec], data: st.DataObject) -> None:
    value = data.draw(st.from_type(spec))
    assert read(spec, write(value)) == value
    assert decode(spec, encode(value)) == value


@given(st.from_type(IntentSpec))
def test_equal_values_encode_to_equal_bytes(value: IntentSpec) -> None:
    assert encode(read(IntentSpec, write(value))) == encode(value)


def _intent(**spec: object) -> dict[str, object]:
    return {"kind": "Intent", "metadata": {"name": "a", "namespace": "n"}, "spec": spec}


ENDS = {"from": {"resource": "a"}, "to": {"service": "b"}}


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        pytest.param({"from": {"resource": "a"}}, "missing required field `to`", id="required-field-missing"),
        pytest.param({**ENDS, "priorty": 1}, "unknown field `priorty`", id="unknown-field"),
        pytest.param({**ENDS, "profile": "Fast"}, "$.profile", id="unknown-word"),
        pytest.param({**ENDS, "priority": "high"}, "$.priority", id="wrong-type"),
        pytest.param(
            {**ENDS, "requirements": {"maxLatency": "40"}}, "$.requirements.maxLatency", id="unreadable-quantity"
        ),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_the_object(spec: dict[str, object], cause: str) -> None:
    with pytest.raises(ManifestError) as refused:
        Intent.from_manifest(_intent(**spec))
    assert refused.value.where == "Intent n/a"
    assert cause in refused.value.cause


@pytest.mark.parametrize("kind", [Resource, Intent, Circuit, Policy])
def test_an_object_without_a_name_is_refused(kind: type[Resource | Intent | Circuit | Policy]) -> None:
    with pytest.raises(ManifestError, match=r"metadata\.name is missing"):
        kind.from_manifest({"kind": kind.__name__, "metadata": {}, "spec": {}})


def test_metadata_that_decisions_do_not_depend_on_is_left_out() -> None:
    meta = {
        "name": "a",
        "namespace": "n",
        "uid": "u",
        "generation": 3,
        "labels": {"app": "web"},
        "annotations": {"x": "y"},
    }
    assert Meta.from_manifest({"metadata": meta}) == Meta(
        name="a", namespace="n", uid="u", generation=3, labels={"app": "web"}
    )


def test_a_status_of_a_newer_version_is_read_without_what_is_unknown() -> None:
    manifest = {
        "metadata": {"name": "a", "namespace": "n"},
        "spec": {"from": "n/a", "to": "n/b", "class": "c"},
        "status": {"number": 3, "jitterMs": 1.5},
    }
    assert Circuit.from_manifest(manifest).status.number == 3


@given(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.from_regex(r"[a-z.]{1,5}", fullmatch=True))
def test_a_reference_reads_back_from_its_text(namespace: str, name: str) -> None:
    ref = Ref(namespace=namespace, name=name)
    assert Ref.parse(str(ref)) == ref


@given(LABELS, LABELS)
def test_a_selector_matches_what_has_all_its_labels(wanted: dict[str, str], labels: dict[str, str]) -> None:
    assert LabelSelector(match_labels=wanted).matches(labels) == (wanted.items() <= labels.items())


def test_units_are_written_as_people_write_them() -> None:
    values: list[Unit] = [Milliseconds(40), Bandwidth(2e8), Ratio(0.005), Price(0.00001), Milliseconds(1500)]
    assert [write(value) for value in values] == ["40ms", "200M", "0.5%", "0.00001", "1.5s"]
