import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.run.breakdown import PARTS, breakdown
from results.run.logs import STATUSES
from tests.results.made import made_logs, same_draws
from tests.results.queues import Server, poisson, serve

gap = st.floats(0.0, 5.0)
instant = st.floats(0.0, 20.0)


@st.composite
def request_rows(draw):
    """A request whose stamps are in order; one that is not ok may lack those after some stage."""
    stamps = ["scheduled_s", "enqueued_s", "taken_s", "staged_s", "started_s", "completed_s"]
    row = {"status": draw(st.sampled_from(STATUSES))}
    at = draw(instant)
    reached = len(stamps) if row["status"] == "ok" else draw(st.integers(1, len(stamps)))
    retried = reached > 2 and draw(st.booleans())
    for stamp in stamps[:reached]:
        row[stamp] = at
        at += draw(gap)
        if stamp == "enqueued_s" and retried:
            row["first_failed_s"] = at
            row["attempts"] = 2
            at += draw(gap)
    row["ended_s"] = at
    return row


@st.composite
def batch_rows(draw):
    """Batches of up to three workers, which may hold several at once; some fail, some hang."""
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        taken = draw(instant)
        freed = draw(st.one_of(st.just(np.nan), st.floats(0.0, 6.0).map(lambda d, t=taken: t + d)))
        rows.append(
            {
                "worker": draw(st.integers(0, 2)),
                "taken_s": taken,
                "freed_s": freed,
                "completed_s": draw(st.sampled_from((freed, np.nan))),
                "ok": draw(st.booleans()),
            }
        )
    return rows


@same_draws
@given(st.lists(request_rows(), min_size=1, max_size=12), batch_rows(), st.integers(1, 3))
def test_the_parts_sum_to_the_time_in_the_system_for_every_row(requests, batches, replicas):
    logs = made_logs(requests, batches)
    parts = breakdown(logs.requests, logs.batches, replicas)
    assert list(parts.columns) == list(PARTS)
    total = (logs.requests["ended_s"] - logs.requests["scheduled_s"]).to_numpy()
    np.testing.assert_allclose(parts.sum(axis=1).to_numpy(), total, rtol=0.0, atol=1e-9)
    assert (parts.to_numpy() >= -1e-9).all()


def test_waiting_is_forming_while_a_worker_is_free_and_queued_while_all_are_busy():
    # Worker 0 holds [0, 4) and a second batch [3, 6); worker 1 holds [2, 5).
    # Both are busy in [2, 5), so of a wait over [1, 7) three seconds are queued.
    logs = made_logs(
        requests=[{"enqueued_s": 1.0, "taken_s": 7.0, "ended_s": 8.0, "scheduled_s": 0.5}],
        batches=[
            {"worker": 0, "taken_s": 0.0, "freed_s": 4.0},
            {"worker": 0, "taken_s": 3.0, "freed_s": 6.0},
            {"worker": 1, "taken_s": 2.0, "freed_s": 5.0},
        ],
    )
    parts = breakdown(logs.requests, logs.batches, replicas=2).iloc[0]
    assert parts["slip"] == 0.5
    assert parts["queued"] == 3.0
    assert parts["forming"] == 3.0


def test_a_worker_that_never_took_a_batch_was_free_all_the_time():
    logs = made_logs(
        requests=[{"enqueued_s": 1.0, "taken_s": 3.0, "ended_s": 3.0}],
        batches=[{"worker": 0, "taken_s": 0.0, "freed_s": 9.0}],
    )
    assert breakdown(logs.requests, logs.batches, replicas=1).iloc[0]["queued"] == 2.0
    assert breakdown(logs.requests, logs.batches, replicas=2).iloc[0]["queued"] == 0.0


def test_a_batch_that_was_never_let_go_of_keeps_its_worker_busy():
    logs = made_logs(
        requests=[{"enqueued_s": 1.0, "ended_s": 5.0, "status": "expired"}],
        batches=[{"worker": 0, "taken_s": 0.5}],
    )
    assert breakdown(logs.requests, logs.batches, replicas=1).iloc[0]["queued"] == 4.0


STAGES = {
    "scheduled_s": 0.0,
    "enqueued_s": 1.0,
    "taken_s": 3.0,
    "staged_s": 6.0,
    "started_s": 10.0,
    "completed_s": 15.0,
    "ended_s": 21.0,
}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (  # answered: one stage after the other
            STAGES,
            {"slip": 1, "forming": 2, "collate": 3, "staged": 4, "execute": 5, "deliver": 6},
        ),
        (  # refused on arrival: it never entered the queue
            {"scheduled_s": 0.0, "ended_s": 0.25, "status": "rejected"},
            {"slip": 0.25},
        ),
        (  # expired while it waited
            {"scheduled_s": 0.0, "enqueued_s": 1.0, "ended_s": 4.0, "status": "expired"},
            {"slip": 1, "forming": 3},
        ),
        (  # cancelled while its batch was executing, which went on without it
            STAGES | {"ended_s": 12.0, "status": "cancelled"},
            {"slip": 1, "forming": 2, "collate": 3, "staged": 4, "execute": 2},
        ),
        (  # failed while its inputs were put together: later stamps do not exist
            {"enqueued_s": 1.0, "taken_s": 3.0, "ended_s": 5.0, "status": "failed"},
            {"slip": 1, "forming": 2, "collate": 2},
        ),
        (  # retried: first attempt [2, 4) executes, from then to the last attempt it is a retry
            STAGES | {"enqueued_s": 1.0, "first_failed_s": 4.0, "taken_s": 5.0, "attempts": 2},
            {"slip": 1, "forming": 1, "execute": 7, "retry": 1, "collate": 1, "staged": 4,
             "deliver": 6},
        ),
        (  # failed once, then expired while it waited to be tried again
            {"enqueued_s": 1.0, "first_failed_s": 4.0, "taken_s": 2.0, "ended_s": 9.0,
             "status": "expired"},
            {"slip": 1, "forming": 1, "execute": 2, "retry": 5},
        ),
    ],
)  # fmt: skip
def test_a_request_is_cut_at_its_ending_and_its_time_goes_to_the_stage_it_was_in(row, expected):
    failure = {"worker": 0, "taken_s": 2.0, "completed_s": 4.0, "freed_s": 4.0, "ok": False}
    logs = made_logs(requests=[row], batches=[failure])
    # With a second worker that is always free, all waiting is forming.
    parts = breakdown(logs.requests, logs.batches, replicas=2).iloc[0]
    assert parts[parts != 0.0].to_dict() == pytest.approx(expected)


def test_without_the_batch_that_failed_a_retried_request_is_said_to_have_waited():
    row = STAGES | {"first_failed_s": 2.5, "attempts": 2}
    logs = made_logs(requests=[row])
    parts = breakdown(logs.requests, logs.batches, replicas=1).iloc[0]
    assert parts["forming"] == 1.5
    assert parts["retry"] == 0.5
    assert parts["execute"] == 5.0


def test_a_batch_that_was_taken_before_a_request_came_did_not_hold_its_first_attempt():
    row = STAGES | {"enqueued_s": 1.0, "first_failed_s": 2.5, "attempts": 2}
    earlier = {"worker": 0, "taken_s": 0.5, "completed_s": 2.0, "freed_s": 2.0, "ok": False}
    logs = made_logs(requests=[row], batches=[earlier])
    parts = breakdown(logs.requests, logs.batches, replicas=2).iloc[0]
    assert parts["forming"] == 1.5
    assert parts["execute"] == 5.0


def test_a_request_that_never_ended_has_no_parts():
    logs = made_logs(requests=[{"enqueued_s": 1.0, "taken_s": 2.0, "status": "cancelled"}])
    assert np.isnan(breakdown(logs.requests, logs.batches, 1).sum(axis=1, skipna=False).iloc[0])


def test_a_single_worker_without_a_timeout_never_lets_a_request_wait_while_it_is_free():
    server = Server(timeout_s=0.0)
    logs = serve(poisson(0.8 * server.peak_rps, 1.0, np.random.default_rng(1)), server)
    parts = breakdown(logs.requests, logs.batches, replicas=1)
    assert parts["forming"].max() < 1e-9
    assert parts["forming"].min() >= 0.0  # not below by a rounding either
    assert parts["queued"].mean() > 1e-4
