import json
import sys
import threading
import time

import numpy as np
import pytest

from workloads import RecordingMiddleware, TraceError, TraceFileError, TraceRecorder
from workloads.asgi import body_bytes

LONG_S = 3600.0  # the flusher stays out of the way: tests flush by hand


class Clock:
    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return self.s


def rows(path):
    return path.read_text().splitlines()[1:]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recorder(tmp_path, clock):
    with TraceRecorder(tmp_path / "a.rec", flush_s=LONG_S, now=clock) as made:
        yield made


def test_the_first_line_says_what_the_file_is(recorder):
    header = json.loads(recorder.path.read_text().splitlines()[0])
    assert header["dynbatch_recording"] == 1
    assert header["columns"] == ["arrival_ns"]
    assert header["started"].endswith("+00:00")


def test_arrivals_are_nanoseconds_from_the_start_and_closing_notes_the_end(recorder, clock):
    recorder.record(100.5)
    recorder.record(100.5 + 1e-6)
    clock.s = 103.0
    recorder.arrived()
    clock.s = 104.0
    recorder.close()
    assert rows(recorder.path) == ["500000000", "500001000", "3000000000", "# end 4000000000"]


def test_nothing_is_written_before_a_flush_and_all_of_it_after(recorder):
    recorder.record(101.0)
    assert rows(recorder.path) == []
    recorder.flush()
    assert rows(recorder.path) == ["1000000000"]


def test_the_recorders_own_thread_flushes_every_so_often(tmp_path):
    recorder = TraceRecorder(tmp_path / "a.rec", flush_s=0.005)
    recorder.arrived()
    until_s = time.monotonic() + 10.0
    while not rows(recorder.path) and time.monotonic() < until_s:
        time.sleep(0.001)
    assert len(rows(recorder.path)) == 1
    recorder.close()


def test_a_size_is_kept_and_what_is_no_size_counts_as_0(tmp_path, clock):
    path = tmp_path / "a.rec"
    sizes = {"abc": 3, "half": 2.5, "none": None, "minus": -4}
    with TraceRecorder(path, size_of=lambda p: sizes[p], flush_s=LONG_S, now=clock) as recorder:
        for i, payload in enumerate([*sizes, "unknown"]):
            recorder.record(100.0 + i, payload)
    assert json.loads(path.read_text().splitlines()[0])["columns"] == ["arrival_ns", "input_tokens"]
    assert [row.split(",")[1] for row in rows(path)[:-1]] == ["3", "2", "0", "0", "0"]


def test_what_threads_append_out_of_order_is_written_in_order(recorder):
    recorder.record(102.0)
    recorder.record(101.0)
    recorder.flush()
    assert rows(recorder.path) == ["1000000000", "2000000000"]


def test_no_arrival_is_lost_while_several_threads_record_and_it_flushes(tmp_path):
    path, each = tmp_path / "a.rec", 20_000
    previous = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # as many chances for a race as there can be
    try:
        with TraceRecorder(path, flush_s=0.0005) as recorder:
            threads = [
                threading.Thread(target=lambda: [recorder.arrived() for _ in range(each)])
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(previous)
    assert len(rows(path)) == 4 * each + 1


def test_a_full_file_is_kept_under_a_number_and_the_next_is_begun(tmp_path, clock):
    path = tmp_path / "a.rec"
    TraceRecorder(path).close()
    three_rows = len(path.read_text().splitlines()[0]) + 25
    path.unlink()
    recorder = TraceRecorder(path, flush_s=LONG_S, rotate_bytes=three_rows, now=clock)
    for second in range(1, 9):
        clock.s = 100.0 + second
        recorder.arrived()
        recorder.flush()
    recorder.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["a-1.rec", "a-2.rec", "a.rec"]
    arrivals = [row for file in files for row in rows(file) if not row.startswith("#")]
    assert len(arrivals) == 8
    assert all(rows(file)[-1].startswith("# end ") for file in files)


def test_an_earlier_recording_is_never_written_over(tmp_path):
    path = tmp_path / "a.rec"
    path.write_text("precious")
    TraceRecorder(path).close()
    assert (tmp_path / "a-1.rec").read_text() == "precious"


def test_the_process_can_be_part_of_the_name(tmp_path):
    with TraceRecorder(tmp_path / "a-{pid}.rec") as recorder:
        assert recorder.path.stem.removeprefix("a-").isdecimal()


def test_closing_twice_and_recording_afterwards_do_no_harm(recorder):
    recorder.close()
    before = recorder.path.read_text()
    recorder.arrived()
    recorder.flush()
    recorder.close()
    assert recorder.path.read_text() == before


def test_a_folder_that_is_not_there_is_an_error_at_once(tmp_path):
    with pytest.raises(TraceFileError, match=r"no/a\.rec cannot be written: No such file"):
        TraceRecorder(tmp_path / "no" / "a.rec")


@pytest.mark.parametrize("number", [{"flush_s": 0.0}, {"rotate_bytes": 0}])
def test_numbers_out_of_range_are_errors(tmp_path, number):
    with pytest.raises(TraceError, match=f"{next(iter(number))} must be > 0"):
        TraceRecorder(tmp_path / "a.rec", **number)


class FullDisk:
    """Stands in for the file: takes nothing after the first write."""

    def __init__(self, file):
        self.file = file
        self.full = True

    def write(self, text):
        if self.full:
            raise OSError(28, "No space left on device")
        self.file.write(text)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_arrivals_that_cannot_be_written_are_counted_in_the_file(recorder, caplog):
    disk = recorder._file = FullDisk(recorder._file)
    recorder.record(101.0)
    recorder.record(102.0)
    recorder.flush()
    assert "arrivals are lost: No space left on device" in caplog.text
    disk.full = False
    recorder.record(103.0)
    recorder.close()
    assert rows(recorder.path) == ["3000000000", "# lost 2", "# end 0"]


async def _app(scope, receive, send):
    scope["seen"] = True


def _request(path="/", headers=(), kind="http"):
    return {"type": kind, "path": path, "headers": list(headers)}


def run(coroutine):
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_the_middleware_notes_http_requests_and_passes_all_on(recorder):
    app = RecordingMiddleware(_app, recorder)
    scopes = [_request(), _request(kind="websocket"), _request("/metrics")]
    for scope in scopes:
        run(app(scope, None, None))
    recorder.flush()
    assert all(scope["seen"] for scope in scopes)
    assert len(rows(recorder.path)) == 2


def test_the_middleware_can_be_kept_to_some_paths(recorder):
    app = RecordingMiddleware(_app, recorder, paths=["/predict"])
    for path in ("/predict", "/metrics", "/predict"):
        run(app(_request(path), None, None))
    recorder.flush()
    assert len(rows(recorder.path)) == 2


def test_the_middlewares_size_is_the_length_of_the_body(tmp_path, clock):
    path = tmp_path / "a.rec"
    recorder = TraceRecorder(
        path, size_of=body_bytes, column="body_bytes", flush_s=LONG_S, now=clock
    )
    app = RecordingMiddleware(_app, recorder)
    for headers in ([(b"content-length", b"120")], [], [(b"content-length", b"x")]):
        run(app(_request(headers=headers), None, None))
    recorder.close()
    assert [row.split(",")[1] for row in rows(path)[:-1]] == ["120", "0", "0"]


def test_stamps_are_exact_to_a_nanosecond_of_the_float_given(tmp_path, clock):
    path = tmp_path / "a.rec"
    at_s = 100.0 + np.sort(np.random.default_rng(0).uniform(0.0, 1e4, 1000))
    with TraceRecorder(path, flush_s=LONG_S, now=clock) as recorder:
        for s in at_s:
            recorder.record(float(s))
    back_s = np.array([int(row) for row in rows(path)[:-1]]) / 1e9
    assert np.abs(back_s - (at_s - 100.0)).max() < 2e-9
