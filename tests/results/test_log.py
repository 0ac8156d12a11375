import numpy as np
import pandas as pd
import pytest

from results.errors import LogError
from results.run.logs import (
    BATCHES,
    REQUESTS,
    STALLS,
    TELEMETRY,
)
from tests.results.made import made_logs


def requests_frame(**columns):
    frame = made_logs(requests=[{}, {}]).requests
    return frame.assign(**columns)


def test_a_valid_log_keeps_its_values_and_gets_its_dtypes():
    frame = requests_frame(attempts=np.array([1, 2], dtype=np.int64), request=[5.0, 6.0])
    checked = REQUESTS.validated(frame)
    assert checked["attempts"].dtype == np.int16
    assert checked["request"].tolist() == [5, 6]
    assert checked["request"].dtype == np.int64


@pytest.mark.parametrize("schema", [REQUESTS, BATCHES, TELEMETRY, STALLS])
def test_an_empty_log_has_every_column(schema):
    empty = schema.empty()
    assert len(empty) == 0
    assert list(empty.columns) == [c.name for c in schema.columns if not c.optional]


def test_optional_columns_may_be_there_or_not():
    with_tokens = REQUESTS.validated(requests_frame(input_tokens=[3, 4]))
    assert with_tokens["input_tokens"].dtype == np.int32
    assert "input_tokens" not in REQUESTS.validated(requests_frame()).columns


def test_columns_are_written_in_the_order_of_the_schema():
    shuffled = requests_frame()[sorted(requests_frame().columns)]
    names = [c.name for c in REQUESTS.columns if not c.optional]
    assert list(REQUESTS.validated(shuffled).columns) == names


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"status": ["ok", "lost"]}, "status of the requests log must be one of ok, rejected"),
        ({"status": ["ok", None]}, "status of the requests log must be text in every row"),
        ({"request": [1.0, np.nan]}, "request of the requests log must be int64, but has values"),
        ({"request": [1.5, 2.0]}, "must be int64, but has values that do not fit"),
        ({"attempts": [1, 70000]}, "must be int16, but has values that do not fit"),
        ({"ended_s": ["a", "b"]}, "ended_s of the requests log must be float64, but got"),
        ({"ended_s": [1.0, np.inf]}, "must be finite or NaN, but has infinity"),
        ({"scheduled_s": [1.0, np.nan]}, "must have a value in every row, but has NaN"),
        ({"colour": [1, 2]}, "must not have the column colour"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_line(columns, message):
    with pytest.raises(LogError, match=message) as caught:
        REQUESTS.validated(requests_frame(**columns))
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named():
    with pytest.raises(LogError, match="the requests log must have the column ended_s, taken_s"):
        REQUESTS.validated(requests_frame().drop(columns=["taken_s", "ended_s"]))


def test_the_index_of_the_frame_does_not_matter():
    frame = pd.DataFrame({"at_s": [1.0, 2.0], "late_s": [0.1, 0.2]}, index=[9, 4])
    assert STALLS.validated(frame)["late_s"].tolist() == [0.1, 0.2]
