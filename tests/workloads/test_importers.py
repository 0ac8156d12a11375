"""The contract of every importer, on a small file in its format."""

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from tests.workloads.examples import (
    AZURE_LLM,
    EXAMPLES,
    IN_UNITS,
    OTHER_ZONE,
    TEXT,
    VARIANTS,
    WITH_HEADER,
    columns,
    lines,
    with_bad_line,
)
from workloads import IMPORTERS, ListedTrace, Reading
from workloads.importers import choose
from workloads.importers.stream import Head

ALL = sorted(EXAMPLES)
# What dynbatch wrote itself leaves nothing to assume.
OURS = ("dynbatch-json", "dynbatch-recording")
RECORDED = sorted(name for name, example in EXAMPLES.items() if example.broken)


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


def zipped(content, name="trace.csv"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.writestr("__MACOSX/._trace.csv", b"\0\5\26\7")
    return file.getvalue()


PACKINGS = [gzip.compress, zstd, bz2.compress, lzma.compress, zipped]


def test_every_importer_has_an_example_and_a_place_in_the_documentation():
    assert set(EXAMPLES) == set(IMPORTERS)
    documented = (Path(__file__).resolve().parents[2] / "docs" / "traces.md").read_text()
    assert [name for name in IMPORTERS if f"`{name}`" not in documented] == []


@pytest.mark.parametrize("name", ALL)
def test_content_is_recognised_by_its_importer_and_by_no_other(name):
    head = Head(EXAMPLES[name].content)
    rivals = [i for i in IMPORTERS.values() if i.generic == IMPORTERS[name].generic]
    assert [i.format for i in rivals if i.recognises(head)] == [name]
    assert choose(head, Reading(), []).format == name


@pytest.mark.parametrize("name", [name for name in ALL if name != "prometheus"])
def test_the_columns_are_those_of_the_file(read, name):
    example = EXAMPLES[name]
    spec = read(example.content)
    assert isinstance(spec, ListedTrace)
    assert columns(spec) == [example.arrival_s, example.input_tokens, example.output_tokens]
    assert spec.trace.duration_s == example.arrival_s[-1]
    assert spec.format == name
    assert spec.trace.source["format"] == name
    assert spec.trace.source["notes"] == list(spec.notes)


@pytest.mark.parametrize("name", VARIANTS)
def test_newer_releases_are_read_too(read, name):
    format_, content, arrival_s = VARIANTS[name]
    spec = read(content)
    assert (spec.format, spec.trace.arrival_s.tolist()) == (format_, arrival_s)


@pytest.mark.parametrize("pack", PACKINGS)
@pytest.mark.parametrize("name", ALL)
def test_compressed_files_give_the_same(read, name, pack):
    plain = read(EXAMPLES[name].content)
    packed = read(pack(EXAMPLES[name].content))
    assert packed.trace.fingerprint() == plain.trace.fingerprint()
    assert packed.notes == plain.notes


@pytest.mark.parametrize("name", RECORDED)
def test_a_bad_entry_is_an_error_that_names_it(refused, name):
    example = EXAMPLES[name]
    message = refused(example.broken)
    assert message.startswith(f"{example.where}: ")
    assert example.complaint in message
    assert message.endswith(" bad: --skip-bad 1 leaves it out")


@pytest.mark.parametrize("name", RECORDED)
def test_a_bad_entry_that_may_be_skipped_is_counted(read, name):
    example = EXAMPLES[name]
    spec = read(example.broken, skip_bad=1)
    assert spec.trace.fingerprint() == read(example.content).trace.fingerprint()
    word = example.where.partition(" ")[0]
    (note,) = [note for note in spec.notes if "skipped" in note]
    assert note.startswith(f"1 bad {word} of ")
    assert f"the first: {example.where}: " in note
    assert example.complaint in note


@pytest.mark.parametrize("name", TEXT)
def test_one_bad_line_more_than_may_be_skipped_is_the_error(refused, name):
    example = EXAMPLES[name]
    number = int(example.where.split()[1])
    bad = example.broken.split(b"\n")[number - 1]
    twice = with_bad_line(example.broken, number + 1, bad)
    message = refused(twice, skip_bad=1)
    assert message.startswith(f"line {number + 1}: ")
    assert "; it is one more bad line than the 1 of skip_bad, and 2 of the " in message
    assert message.endswith(" lines read so far are bad: --skip-bad 2 leaves them out")


@pytest.mark.parametrize("name", TEXT)
def test_line_breaks_of_windows_blank_lines_and_a_byte_order_mark_change_nothing(read, name):
    content = EXAMPLES[name].content
    changed = b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n\r\n")
    assert columns(read(changed)) == columns(read(content))


@pytest.mark.parametrize("name", TEXT)
def test_the_last_line_needs_no_line_break(read, name):
    content = EXAMPLES[name].content
    assert columns(read(content.rstrip(b"\n"))) == columns(read(content))


@pytest.mark.parametrize("name", TEXT)
def test_a_line_number_counts_blank_lines_too(refused, name):
    example = EXAMPLES[name]
    number = int(example.where.split()[1])
    spaced = example.broken.replace(b"\n", b"\n\n")
    assert refused(spaced).startswith(f"line {2 * number - 1}: ")


@pytest.mark.parametrize("name", [name for name in TEXT if name != "dynbatch-recording"])
def test_a_last_line_cut_short_is_a_bad_line(refused, name):
    content = EXAMPLES[name].content.rstrip(b"\n")
    last = content.rpartition(b"\n")[2]
    cut = content[: len(content) - len(last) + 8]
    number = content.count(b"\n") + 1
    assert refused(cut).startswith(f"line {number}: ")


# A row of k6's whose metric is not the one that is read is not looked at.
@pytest.mark.parametrize("name", [name for name in TEXT if name != "k6"])
def test_bytes_that_are_no_utf8_are_a_bad_line(refused, name):
    content = EXAMPLES[name].content
    number = content.count(b"\n") + 1
    bad = EXAMPLES[name].broken.split(b"\n")[int(EXAMPLES[name].where.split()[1]) - 1]
    assert refused(content + bad.replace(b"e", b"\xff") + b"\xff\n").startswith(f"line {number}: ")


@pytest.mark.parametrize("name", TEXT)
def test_utf16_is_refused_by_its_name(refused, name):
    content = b"\xff\xfe" + EXAMPLES[name].content.decode().encode("utf-16-le")
    message = refused(content, format=name)
    assert message == "must be UTF-8 text, but begins with the mark of UTF-16"


@pytest.mark.parametrize("name", TEXT)
def test_requests_out_of_order_are_sorted_and_said_to_be(read, name):
    head, *rest = EXAMPLES[name].content.splitlines(keepends=True)
    kept = [head] if name in WITH_HEADER else []
    requests = rest if name in WITH_HEADER else [head, *rest]
    spec = read(b"".join(kept + requests[::-1]))
    assert columns(spec) == columns(read(EXAMPLES[name].content))
    if name != "azure-functions":  # which is not in order as it is
        assert "has been sorted" in " ".join(spec.notes)


@pytest.mark.parametrize("name", ALL)
def test_an_empty_file_holds_no_trace(refused, name):
    assert refused(b"", format=name)
    assert refused(b"\n\n") == "must hold a trace, but is empty"


@pytest.mark.parametrize("name", WITH_HEADER)
def test_a_header_alone_holds_no_trace(refused, name):
    header = EXAMPLES[name].content.split(b"\n")[0]
    for content in (header, header + b"\n"):
        assert refused(content) == "must hold at least one request, but holds none"


@pytest.mark.parametrize("name", TEXT)
def test_a_file_of_bad_entries_alone_is_refused_even_if_all_may_be_skipped(refused, name):
    lines_ = EXAMPLES[name].content.split(b"\n")
    bad = EXAMPLES[name].broken.split(b"\n")[int(EXAMPLES[name].where.split()[1]) - 1]
    content = b"\n".join([*(lines_[:1] if name in WITH_HEADER else []), bad, bad, b""])
    if name == "jsonl":
        content = content.replace(b"{", b'{"ts": "never"}')
    message = refused(content, format=name, skip_bad=9)
    assert message == "must hold at least one request, but all 2 lines are bad"


@pytest.mark.parametrize("name", OTHER_ZONE)
def test_the_same_instants_in_another_zone_are_the_same_arrivals(read, name):
    one, other = (read(content, format=name) for content in OTHER_ZONE[name])
    assert one.trace.arrival_s.tolist() == other.trace.arrival_s.tolist()


def test_every_format_that_takes_a_unit_is_tried_in_each():
    assert set(IN_UNITS) == {name for name, i in IMPORTERS.items() if "time_unit" in i.takes} - {
        "w3c-log"  # which has dates
    }


@pytest.mark.parametrize(
    ("unit", "step"), [("s", 2), ("ms", 2000), ("us", 2 * 10**6), ("ns", 2 * 10**9)]
)
@pytest.mark.parametrize("name", IN_UNITS)
def test_the_same_times_in_another_unit_are_the_same_arrivals(read, name, unit, step):
    content = IN_UNITS[name]("timestamp", 0, step, step * 3)
    assert read(content, format=name, time_unit=unit).trace.arrival_s.tolist() == [0.0, 2.0, 6.0]


@pytest.mark.parametrize(
    ("unit", "step"), [("s", 2), ("ms", 2000), ("us", 2 * 10**6), ("ns", 2 * 10**9)]
)
@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
def test_a_unit_in_the_name_is_the_unit(read, name, unit, step):
    spec = read(IN_UNITS[name](f"timestamp_{unit}", 0, step, step * 3))
    assert spec.trace.arrival_s.tolist() == [0.0, 2.0, 6.0]


@pytest.mark.parametrize("name", ["azure-functions", "azure-llm", "burstgpt", "csv", "k6"])
def test_quotes_around_every_field_of_a_table_change_nothing(read, name):
    content = EXAMPLES[name].content
    rows = list(csv.reader(io.StringIO(content.decode()), delimiter=";" if name == "csv" else ","))
    quoted = io.StringIO()
    csv.writer(quoted, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    assert columns(read(quoted.getvalue().encode())) == columns(read(content))


@pytest.mark.parametrize("name", [name for name in ALL if name not in OURS])
def test_every_import_says_what_a_request_was_taken_for(read, name):
    notes = " ".join(read(EXAMPLES[name].content).notes)
    assert "each taken as one request at its" in notes or "series of" in notes


@pytest.mark.parametrize("pack", PACKINGS)
@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet", "prometheus"])
def test_what_a_compressed_file_may_hold_has_a_limit_that_can_be_raised(read, refused, name, pack):
    content = pack(EXAMPLES[name].content)
    gb = len(EXAMPLES[name].content) / 1e9
    assert "raise --max-unpacked-gb" in refused(content, max_unpacked_gb=gb * 0.99)
    assert read(content, max_unpacked_gb=gb).trace


def test_a_zip_of_several_files_names_them(refused):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", AZURE_LLM)
        archive.writestr("b.csv", AZURE_LLM)
    assert refused(file.getvalue()) == (
        'must be a zip of one file, but has 2 ("a.csv, b.csv"): unpack it and name one'
    )


@pytest.mark.parametrize("pack", PACKINGS)
def test_a_compressed_file_cut_short_is_refused(refused, pack):
    content = pack(AZURE_LLM + b"2023-11-16 18:15:52,1,1\n" * 1000)
    assert "must be a whole " in refused(content[: len(content) // 2])


def test_a_bad_value_is_found_among_many_blocks(read, refused, monkeypatch):
    monkeypatch.setattr("workloads.importers.stream.HEAD_BYTES", 4096)
    monkeypatch.setattr("workloads.importers.stream.Stream.blocks.__defaults__", (1000,))
    rows = [f"2023-11-16 18:{i // 60:02d}:{i % 60:02d},{i},1" for i in range(3000)]
    whole = lines("TIMESTAMP,ContextTokens,GeneratedTokens", *rows)
    assert columns(read(whole))[:2] == [list(map(float, range(3000))), list(range(3000))]
    for bad in (17, 1500, 2999):
        spoilt = [*rows[:bad], rows[bad].replace("16", "99", 1), *rows[bad + 1 :]]
        broken = lines("TIMESTAMP,ContextTokens,GeneratedTokens", *spoilt)
        assert refused(broken).startswith(f"line {bad + 2:,}: TIMESTAMP must be a date and time")
        assert len(read(broken, skip_bad=1).trace) == 2999


@pytest.mark.parametrize("size", [64, 1000, 1 << 24])
def test_records_over_several_lines_are_whole_wherever_a_block_ends(
    read, refused, monkeypatch, size
):
    monkeypatch.setattr("workloads.importers.stream.HEAD_BYTES", 100)
    monkeypatch.setattr("workloads.importers.stream.Stream.blocks.__defaults__", (size,))
    rows = [f'{i},"first, of {i}\n""second""\n\nlast"' for i in range(300)]
    assert columns(read(lines("time_s,message", *rows)))[0] == list(map(float, range(300)))
    # The number of a record is that of its first line, and each has four.
    rows[200] = rows[200].replace("200,", "never,", 1)
    content = lines("time_s,message", *rows)
    assert refused(content).startswith("line 802: time_s must be a number")
    assert len(read(content, skip_bad=1).trace) == 299


def test_what_is_no_whole_syslog_is_recognised_and_refused_only_when_it_is_read():
    turn_of_the_year = lines("Dec 31 23:59:59 host app: a", "Jan  1 00:00:01 host app: b")
    assert IMPORTERS["syslog"].recognises(Head(turn_of_the_year))
