"""Files that are almost in a known format: each is a trace, or an error of ours on one line.

DYNBATCH_FUZZ_FILES says how many, and makes them others each time; without it they are a few
hundred, always the same. 10,000 take about a minute.
"""

import bz2
import gzip
import json
import lzma
import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.field.trace_siblings import READ, REFUSED
from tests.workloads.examples import EXAMPLES, VARIANTS
from workloads import DescribedTrace, Reading, Trace, WorkloadError, load, resolve, save

FILES = int(os.environ.get("DYNBATCH_FUZZ_FILES", "500"))
VALID = [example.content for example in EXAMPLES.values()]
VALID += [content for _, content, _ in VARIANTS.values()]
VALID += [content for _, content, *_ in (*READ, *REFUSED)]
# What parsers stumble over.
PIECES = [
    b"", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b'"', b'""', b"'", b",", b";",
    b"\t", b"-", b"+", b".", b"e", b"1e999", b"1e-999", b"9" * 30, b"-1", b"0x1f", b"nan", b"inf",
    b"null", b"true", b"{", b"}", b"[", b"]", b"{}", b"[]", b"\\", b"\\ud800", b" ", b"\xc2\xa0",
    "\u0661".encode(), b"0000-00-00 00:00:00", b"2262-04-11 23:47:17", b"1677-09-21 00:12:43",
    b"2024-02-30 00:00:00", b"2024-05-10 00:00:00Z", b"30/Feb/2024:00:00:00 +0000",
    b"16/Nov/2023:18:15:46 +9999", b"01/Jan/0001:00:00:00 +1400", b"Timestamp", b"arrival_s",
    b'"process"', b'"arrival_s"', b'"turns"', b"a" * 3000,
]  # fmt: skip


PACKINGS = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zstd": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@st.composite
def spoilt(draw):
    """A valid file with a few changes, perhaps compressed and then changed again."""
    content = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        content = change(draw, content)
    packing = draw(st.sampled_from([None, None, None, "gzip", "zstd", "bz2", "xz"]))
    if packing:
        content = PACKINGS[packing](content)
        if draw(st.booleans()):
            content = change(draw, content)
    return content


def change(draw, content):
    start = draw(st.integers(0, len(content)))
    stop = min(len(content), start + draw(st.integers(0, 40)))
    piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
    match draw(st.sampled_from(["replace", "insert", "cut", "repeat", "shuffle", "end"])):
        case "replace":
            return content[:start] + piece + content[stop:]
        case "insert":
            return content[:start] + piece + content[start:]
        case "cut":
            return content[:start] + content[stop:]
        case "repeat":
            return content[:stop] + content[start:stop] * 3 + content[stop:]
        case "shuffle":
            return b"\n".join(draw(st.permutations(content.split(b"\n")[:8])))
        case _:
            return content[:start]


readings = st.builds(
    Reading,
    format=st.sampled_from([None, None, None, None, *EXAMPLES]),
    time_column=st.sampled_from([None, None, None, None, "timestamp_ms", "ts", "n"]),
    time_unit=st.sampled_from([None, None, None, None, None, "s", "ms", "us", "ns"]),
    stamp=st.sampled_from([None, None, None, None, None, "end"]),
    duration_unit=st.sampled_from([None, None, None, None, None, "ms"]),
    count_column=st.sampled_from([None, None, None, None, None, "none", "value", "n"]),
    where=st.sampled_from([(), (), (), (), (), ("metric=reqs",), ("n=1", "ts=1")]),
    columns=st.sampled_from([(), (), (), (), (), ("ts", "n", "value")]),
    skip_bad=st.sampled_from([0, 0, 1, 100]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(
    max_examples=FILES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="DYNBATCH_FUZZ_FILES" not in os.environ,
)
@given(content=spoilt(), reading=readings)
def test_a_spoilt_file_is_a_trace_or_an_error_of_ours(folder, content, reading):
    path = folder / "spoilt"
    path.write_bytes(content)
    refusal = ""
    try:
        spec = load(path, reading)
        if isinstance(spec, DescribedTrace):
            return
        assert np.isfinite(spec.trace.arrival_s).all()
        assert not any("\n" in note for note in spec.notes)
        json.dumps(resolve(spec).describe(), allow_nan=False)
    except WorkloadError as error:
        refusal = str(error)
    assert "\n" not in refusal


@st.composite
def recordings(draw):
    arrival_s = sorted(draw(st.lists(st.floats(0, 1e7), min_size=1, max_size=20)))
    tokens = st.none() | st.lists(
        st.integers(0, 2**31 - 1), min_size=len(arrival_s), max_size=len(arrival_s)
    )
    return Trace(
        arrival_s,
        arrival_s[-1] + draw(st.floats(0, 1e3)),
        input_tokens=draw(tokens),
        output_tokens=draw(tokens),
        name=draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)),
        source={"kind": "given", "notes": draw(st.lists(st.just("rebuilt"), max_size=1))},
    )


@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".json.zst", ".parquet"])
@settings(max_examples=50, deadline=None)
@given(trace=recordings())
def test_a_saved_trace_comes_back_bit_by_bit_with_its_notes(folder, suffix, trace):
    path = folder / f"saved{suffix}"
    save(trace, path)
    spec = load(path)
    back = spec.trace
    for name in ("arrival_s", "input_tokens", "output_tokens"):
        column, given_ = getattr(back, name), getattr(trace, name)
        assert (column is None) == (given_ is None)
        assert column is None or (column.dtype == given_.dtype and (column == given_).all())
    assert (back.duration_s, back.name) == (trace.duration_s, trace.name)
    assert list(spec.notes) == trace.source["notes"]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst"])
@settings(max_examples=50, deadline=None)
@given(trace=recordings())
def test_a_trace_saved_as_csv_comes_back_to_the_nanosecond(folder, suffix, trace):
    path = folder / f"saved{suffix}"
    save(trace, path)
    back = load(path).trace
    # Two times are rounded to nanoseconds, and floats near 1e7 s are themselves 2e-9 s apart.
    expected_s = trace.arrival_s - trace.arrival_s[0]
    assert np.abs(back.arrival_s - expected_s).max() <= 4e-9
    for name in ("input_tokens", "output_tokens"):
        column, given_ = getattr(back, name), getattr(trace, name)
        assert (column is None) == (given_ is None)
        assert column is None or column.tolist() == given_.tolist()
