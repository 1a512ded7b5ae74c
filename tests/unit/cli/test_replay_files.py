"""Reading a file: records with the line they begin in, whatever the file is like, and batches that account for them."""

import gzip
from pathlib import Path

import pytest

from cli.replay.batches import BATCH_LINES, make_batches, pass_through
from cli.replay.bind import Skip
from cli.replay.files import CsvFile, FileRefused, JsonLinesFile, Record, fingerprint, format_of
from cli.replay.spec import Csv
from cli.replay.values import LineError, Row


def csv_file(folder: Path, content: str | bytes, form: Csv | None = None) -> CsvFile:
    path = folder / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return CsvFile(path, form or Csv())


def rows(file: CsvFile | JsonLinesFile) -> list[tuple[int, object]]:
    return [(r.line, r.error.reason if r.error else r.row) for r in file.records()]


def test_a_record_is_known_by_the_line_it_begins_in(tmp_path: Path) -> None:
    file = csv_file(tmp_path, 'a,b\r\n1,"two\r\nlines"\r\n\r\n3,4\r\n')
    assert rows(file) == [(2, ["1", "two\r\nlines"]), (4, None), (5, ["3", "4"])]


def test_a_bad_record_costs_only_itself(tmp_path: Path) -> None:
    file = csv_file(tmp_path, 'a,b\n1,2,3\n4\n"x"y,5\n6,7\n')
    found = rows(file)
    assert found[0] == (2, "3 fields, expected 2 as in the header")
    assert found[1] == (3, "1 fields, expected 2 as in the header")
    assert "no CSV" in str(found[2][1])
    assert found[-1] == (5, ["6", "7"])


def test_a_byte_order_mark_belongs_to_no_column(tmp_path: Path) -> None:
    assert csv_file(tmp_path, b"\xef\xbb\xbfid,n\n1,2\n").header == ("id", "n")


def test_other_encodings_delimiters_and_headers_are_a_matter_of_the_mapping(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "北京;1\n".encode("gb18030"), Csv(";", "'", "gb18030", ("city", "n")))
    assert rows(file) == [(1, ["北京", "1"])]


def test_bytes_in_another_encoding_do_not_end_the_file(tmp_path: Path) -> None:
    file = csv_file(tmp_path, b"a,b\n\xb1\xb1,1\nx,2\n")
    assert [line for line, _ in rows(file)] == [2, 3]


@pytest.mark.parametrize(("content", "why"), [("", "the file is empty"), ("a,b,a\n1,2,3\n", "column 'a' stands twice")])
def test_a_file_without_a_usable_header_is_refused(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(FileRefused, match=why):
        csv_file(tmp_path, content)


def test_gzip_is_known_by_its_bytes_and_a_torn_one_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n" + b"".join(b"%d,x\n" % n for n in range(50_000)))
    path = tmp_path / "data.csv"
    path.write_bytes(packed)
    file = CsvFile(path, Csv())
    assert sum(1 for _ in file.records()) == 50_000
    assert file.position_bytes() == file.size_bytes == len(packed)
    with pytest.raises(FileRefused, match="gzip is broken after line"):
        rows(csv_file(tmp_path, packed[: len(packed) // 2]))


def test_json_lines_are_objects(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[1]\n{"a"\n{"a": 2}')
    assert rows(JsonLinesFile(path)) == [
        (1, {"a": 1}), (2, None), (3, "no JSON object"), (4, "no JSON object"), (5, {"a": 2}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said", "found"),
    [("a.csv", "", "csv"), ("a.csv.gz", "", "csv"), ("a.ndjson", "", "jsonl"), ("a.csv", "jsonl", "jsonl")],
)
def test_the_format_is_said_or_known_by_the_name(name: str, said: str, found: str) -> None:
    assert format_of(Path(name), said) == found


def test_a_name_that_says_nothing_is_asked_about() -> None:
    with pytest.raises(FileRefused, match="--format"):
        format_of(Path("export.dat"), "", "")


def test_a_file_is_another_one_when_either_end_changed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 3_000_000)
    ids = {fingerprint(path)}
    for content in (b"b" + b"a" * 2_999_999, b"a" * 2_999_999 + b"b", b"a" * 3_000_001):
        path.write_bytes(content)
        ids.add(fingerprint(path))
    assert len(ids) == 4


def message_of(row: Row, line: int) -> bytes | Skip:
    if row == "skip":
        return Skip("on purpose")
    if row == "bad":
        raise LineError("bad row", "x")
    return f"m{line}".encode()


def test_batches_account_for_every_record_in_order() -> None:
    kinds = ["ok", "skip", "bad", None]
    records = [Record(n + 2, kinds[n % 4]) for n in range(2 * BATCH_LINES + 3)]
    records[7] = Record(9, error=LineError("torn"))
    batches = list(make_batches(iter(records), message_of))
    assert [(b.number, b.records) for b in batches] == [(0, BATCH_LINES), (1, BATCH_LINES), (2, 3)]
    for batch in batches:
        assert batch.records == len(batch.lines) + len(batch.skipped) + len(batch.failed)
    assert batches[0].failed[:2] == [("bad row", 4, "x"), ("bad row", 8, "x")]
    assert ("torn", 9, "") in batches[0].failed
    assert batches[0].skipped[:2] == [("on purpose", 3), ("blank line", 5)]


def test_what_has_its_verdict_is_read_over() -> None:
    records = [Record(n + 2, "ok") for n in range(10)]
    (batch,) = make_batches(iter(records), message_of, done_records=7)
    assert batch.lines == [9, 10, 11]


def test_json_lines_pass_with_an_id_that_a_repetition_has_again() -> None:
    message_of = pass_through("f00d")
    own = b'{"type":"track","messageId":"mine"}'
    assert message_of(own, 1) == own
    assert message_of(b'{"type": "track"}', 2) == b'{"type":"track","messageId":"f00d-2"}'
    assert message_of(b'{"messageId": null, "n": 1.10}', 3) == b'{"messageId":"f00d-3","n":1.10}'
    assert message_of(b"{}", 4) == b'{"messageId":"f00d-4"}'


def test_lines_that_are_no_json_are_kept_apart_as_they_are() -> None:
    records = [Record(1, b"{broken"), Record(2, b'{"type":"track"}')]
    (batch,) = make_batches(iter(records), pass_through("f"))
    assert (batch.malformed, batch.lines, batch.records) == ([(b"{broken", 1)], [2], 2)
