"""What `TraceRecorder` wrote, read back: whole, cut off by a crash, or spoilt."""

import json

import numpy as np
import pytest

from tests.workloads.examples import RECORDING, columns
from workloads import TraceRecorder, concatenated, load

LONG_S = 3600.0  # the flusher stays out of the way
HEADER, *ROWS = RECORDING.splitlines(keepends=True)


class Clock:
    def __init__(self, s):
        self.s = s

    def __call__(self):
        return self.s


def header(**changes):
    return json.dumps(json.loads(HEADER) | changes).encode() + b"\n"


@pytest.fixture
def record(tmp_path):
    """Write arrivals, in seconds after the start, and read the file that comes of it."""

    def record(at_s, *, ends_s, payloads=None, **options):
        clock = Clock(5000.0)
        path = tmp_path / "live.rec"
        with TraceRecorder(path, flush_s=LONG_S, now=clock, **options) as recorder:
            for s, payload in zip(at_s, payloads or at_s, strict=True):
                recorder.record(5000.0 + s, payload)
            clock.s += ends_s
        return load(path)

    return record


def test_a_recording_lasts_as_long_as_its_recorder(record):
    at_s = np.sort(np.random.default_rng(1).uniform(1.0, 50.0, 2000))
    spec = record(at_s.tolist(), ends_s=60.0)
    assert spec.format == "dynbatch-recording"
    assert (len(spec.trace), spec.trace.duration_s, spec.notes) == (2000, 60.0, ())
    assert np.abs(spec.trace.arrival_s - at_s).max() < 2e-9
    assert spec.trace.name == "live"


def test_input_tokens_are_kept(record):
    spec = record([0.5, 1.5], ends_s=2.0, payloads=["ab", "abc"], size_of=len)
    assert spec.trace.input_tokens.tolist() == [2, 3]


def test_another_size_is_no_number_of_tokens_and_that_is_said(record):
    spec = record([0.5, 1.5], ends_s=2.0, payloads=["ab", "c"], size_of=len, column="body_bytes")
    assert spec.trace.input_tokens is None
    assert spec.notes == ('"body_bytes" is not a number of tokens, and was not kept',)


def test_rotated_files_one_behind_the_other_are_the_whole_recording(tmp_path):
    clock, path = Clock(100.0), tmp_path / "live.rec"
    with TraceRecorder(path, flush_s=LONG_S, rotate_bytes=1, now=clock) as recorder:
        for second in (1, 2.5, 2.75):
            clock.s = 100.0 + second
            recorder.arrived()
            recorder.flush()
        clock.s = 104.0
    parts = [load(tmp_path / f"live{n}.rec").trace for n in ("-1", "-2", "-3")]
    whole = concatenated(parts)
    assert whole.arrival_s == pytest.approx([1, 2.5, 2.75])
    assert [part.duration_s for part in parts] == pytest.approx([1, 1.5, 0.25])


@pytest.mark.parametrize("kept", range(len(HEADER) + 1, len(RECORDING)))
def test_of_a_file_that_a_crash_cut_off_every_whole_line_is_read(read, refused, kept):
    content = RECORDING[:kept]
    whole = content[: content.rindex(b"\n") + 1].count(b"\n") - 1
    if not whole:
        assert refused(content) == "must hold at least one request, but holds none"
        return
    spec = read(content)
    assert columns(spec)[:2] == [[0.0, 0.0015, 2.000000001][:whole], [12, 7, 900][:whole]]
    assert spec.trace.duration_s == spec.trace.arrival_s[-1]
    cut = [note for note in spec.notes if note.startswith("the last line has no line break")]
    assert len(cut) == (not content.endswith(b"\n"))
    assert spec.notes[-1].startswith("the recorder was not closed")


def test_arrivals_that_the_recorder_lost_are_said_to_be_missing(read):
    spec = read(RECORDING.replace(b"# end", b"# lost 1200\n# end"))
    assert spec.notes == ("1,200 further arrivals were lost: the recorder could not write them",)


def test_a_row_after_the_end_moves_the_end(read):
    spec = read(RECORDING + b"9000000000,3\n")
    assert (len(spec.trace), spec.trace.duration_s) == (4, 9.0)


def test_remarks_of_other_kinds_are_passed_over(read):
    spec = read(RECORDING.replace(b"1500000", b"# night shift\n1500000"))
    assert columns(spec) == columns(read(RECORDING))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (RECORDING.replace(b"# end 2000000001", b"# end soon"),
         'line 5: a remark must be like # end 60000000000, but got "# end soon"'),
        (RECORDING.replace(b"1500000,7", b"1500000"), "line 3: a line must have 2 fields, but "),
        (RECORDING.replace(b"1500000,7", b"1500000,-7"), "line 3: input_tokens must be a whole nu"),
        (header(dynbatch_recording=2) + b"".join(ROWS), "dynbatch_recording must be 1, but got 2"),
        (header(columns=["at_s"]) + b"".join(ROWS),
         "columns must be arrival_ns and at most one more, but got a list of 1"),
        (header(columns=7) + b"".join(ROWS), "columns must be arrival_ns and at most one more, bu"),
    ],
)  # fmt: skip
def test_what_the_recorder_never_wrote_is_refused(refused, content, message):
    assert refused(content).startswith(message)


def test_two_recordings_in_one_file_are_refused_whatever_may_be_skipped(refused):
    assert refused(RECORDING + RECORDING, skip_bad=9).startswith("must be one recording, but holds")


def test_a_bad_remark_can_be_skipped_as_a_bad_line_can(read):
    spec = read(RECORDING.replace(b"# end 2000000001", b"# end soon"), skip_bad=1)
    assert columns(spec) == columns(read(RECORDING))
    assert spec.notes[-1].startswith("1 bad line of 4 skipped; the first: line 5: a remark")


def test_a_file_without_the_header_is_refused_by_the_name_of_its_format(refused):
    assert refused(b"".join(ROWS), format="dynbatch-recording") == (
        'the first line must be the header of a recording, with "dynbatch_recording"'
    )
