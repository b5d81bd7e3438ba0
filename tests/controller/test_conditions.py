from __future__ import annotations

from foremesh.controller.conditions import MESSAGE_LIMIT, merge, state

EARLIER, LATER = "2030-01-01T00:00:00Z", "2030-01-01T00:05:00Z"


def test_a_status_that_stays_keeps_its_time_even_when_its_reason_changes() -> None:
    old = merge((), [state("Ready", False, "NoAgent", "")], generation=1, now=EARLIER)
    (new,) = merge(old, [state("Ready", False, "NoBeacon", "")], generation=2, now=LATER)
    assert (new.last_transition_time, new.reason, new.observed_generation) == (EARLIER, "NoBeacon", 2)


def test_a_status_that_changes_gets_the_new_time() -> None:
    old = merge((), [state("Ready", None, "Pending", "")], generation=1, now=EARLIER)
    (new,) = merge(old, [state("Ready", True, "Placed", "")], generation=1, now=LATER)
    assert (new.status, new.last_transition_time) == ("True", LATER)


def test_conditions_come_out_sorted_so_that_equal_statuses_are_equal() -> None:
    new = [state("Satisfied", None, "A", ""), state("Ready", None, "B", "")]
    assert merge((), new, generation=1, now=LATER) == merge((), reversed(new), generation=1, now=LATER)


def test_a_long_message_is_cut_to_what_the_crd_accepts() -> None:
    assert len(state("Ready", False, "X", "x" * 5000).message) == MESSAGE_LIMIT
