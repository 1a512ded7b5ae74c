"""Mapping files: what a line becomes, and every mistake with its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.replay.bind import Skip, bind_mapping
from cli.replay.files import CsvFile, JsonLinesFile
from cli.replay.mapping import parse_mapping
from cli.replay.spec import Csv, MappingRefused
from cli.replay.values import LineError
from deploy.local.settings import ROOT

HEADER = ["id", "mail", "when", "what", "price", "n"]


def column_of(path: tuple[str, ...]) -> Any:
    if path[0] not in HEADER:
        raise KeyError(f"one of {', '.join(HEADER)}")
    return lambda row: row[HEADER.index(path[0])]


def become(mapping: str, *row: str, line: int = 7) -> Any:
    spec = parse_mapping("m.yaml", mapping.encode())
    found = bind_mapping(spec, column_of, "f00d").message([*row, *[""] * (len(HEADER) - len(row))], line)
    return found if isinstance(found, Skip) else json.loads(found)


BASE = "identifiers: {user_id: id}\nevent: Product Viewed\n"


def test_the_least_mapping_makes_a_track_message_with_an_id_of_file_and_line() -> None:
    assert become(BASE, "u1") == {
        "type": "track", "event": "Product Viewed", "userId": "u1", "messageId": "f00d-7",
    }  # fmt: skip


def test_what_a_line_does_not_say_is_not_sent() -> None:
    mapping = BASE + "properties: {what: what, n: n, deep: {price: price}}\ntraits: {mail: mail}\n"
    assert become(mapping, "u1", "", "", "", "9.90") == {
        "type": "track", "event": "Product Viewed", "userId": "u1", "messageId": "f00d-7",
        "properties": {"deep": {"price": "9.90"}},
    }  # fmt: skip


def test_identifiers_stand_where_ingest_reads_them() -> None:
    mapping = """
event: X
identifiers:
  anonymous_id: id
  email: mail
  device_id: what
  openid: {value: n, scope: "wx{price}"}
"""
    message = become(mapping, "a1", "a@b.example", "", "dev", "1", "o-1")
    assert message["anonymousId"] == "a1"
    assert message["context"] == {
        "traits": {"email": "a@b.example", "openid": "o-1", "app_id": "wx1"},
        "device": {"id": "dev"},
    }


def test_orders_carry_an_exact_amount() -> None:
    mapping = BASE + "order_id: id\namount: price * n\ncurrency: GBP\nproperties: {gift: true, n: number(n)}\n"
    spec = parse_mapping("m.yaml", mapping.encode())
    raw = bind_mapping(spec, column_of, "f").message(["u1", "", "", "", "0.10", "3"], 2)
    assert isinstance(raw, bytes)
    assert b'"properties":{"order_id":"u1","total":0.30,"currency":"GBP","gift":true,"n":3}' in raw


@pytest.mark.parametrize(
    ("timestamp", "value", "result"),
    [
        ("when", "2011-06-01T12:00:00+02:00", "2011-06-01T12:00:00+02:00"),
        ("when", "2011-06-01 12:00", "2011-06-01T12:00:00+00:00"),
        ("{value: when, zone: Europe/London}", "2011-06-01 12:00:00", "2011-06-01T12:00:00+01:00"),
        ('{value: when, format: "%d/%m/%Y %H:%M", zone: Asia/Shanghai}', "1/6/2011 12:00", "2011-06-01T12:00:00+08:00"),
        ("{value: when, format: unix_s}", "1306929600", "2011-06-01T12:00:00+00:00"),
        ("{value: when, format: unix_ms}", "1306929600123", "2011-06-01T12:00:00.123000+00:00"),
    ],
)
def test_times_are_read_in_their_format_and_zone(timestamp: str, value: str, result: str) -> None:
    assert become(BASE + f"timestamp: {timestamp}\n", "u1", "", value)["timestamp"] == result


@pytest.mark.parametrize(
    ("value", "reason"),
    [("", "timestamp is empty"), ("31.2.2011", "timestamp is no time in the format ISO 8601")],
)
def test_a_line_without_a_readable_time_is_not_taken_for_now(value: str, reason: str) -> None:
    with pytest.raises(LineError, match=reason):
        become(BASE + "timestamp: when\n", "u1", "", value)


CASES = """
identifiers: {user_id: id}
properties: {what: what, shop: '"web"'}
cases:
  - {when: n == 0, skip: nothing bought}
  - {when: n < 0, event: Order Refunded, amount: -n * price, properties: {what: upper(what)}}
  - {when: 'startswith(what, "id")', type: identify, traits: {mail: mail}}
  - {when: n > 0, event: "Bought {what} {n}", message_id: "{what}/{line}"}
"""


def test_the_first_case_that_holds_decides() -> None:
    assert become(CASES, "u1", "", "", "x", "2", "0") == Skip("nothing bought")
    refund = become(CASES, "u1", "", "", "x", "2.5", "-2")
    assert (refund["event"], refund["properties"]) == ("Order Refunded", {"total": 5.0, "what": "X", "shop": "web"})
    identify = become(CASES, "u1", "a@b.example", "", "identity", "2", "1")
    assert (identify["type"], identify["traits"]) == ("identify", {"mail": "a@b.example"})
    assert "event" not in identify
    bought = become(CASES, "u1", "", "", "x", "2", "1", line=9)
    assert (bought["event"], bought["messageId"]) == ("Bought x 1", "x/9")


def test_a_line_that_no_case_takes_is_named() -> None:
    with pytest.raises(LineError, match="no case of the mapping takes it"):
        become("identifiers: {user_id: id}\ncases: [{when: n == 1, event: X}]", "u1", "", "", "", "", "2")


def test_an_event_name_from_an_empty_column_is_named() -> None:
    with pytest.raises(LineError, match="event is empty"):
        become("identifiers: {user_id: id}\nevent: '{what}'", "u1")


@pytest.mark.parametrize(
    ("mapping", "mistake"),
    [
        ("", "m.yaml:1:1: found an empty file, expected a mapping"),
        ("- x", "m.yaml:1:1: found a list"),
        (BASE + "evnet: X", "m.yaml:3:1: found `evnet`, expected one of"),
        (BASE + "amount: price *", "m.yaml:3:9: found no expression"),
        (BASE + 'amount: "price * foo("', "found no expression"),
        (BASE + "order_id: price ^ 2", "m.yaml:3:11: found the operator in `price ^ 2`"),
        (BASE + "currency: '{price'", "m.yaml:3:11: found a brace too many"),
        (BASE + "currency: 'x{upper(}'", "m.yaml:3:"),
        (BASE + "timestamp: {value: when, zone: Mars/Base}", "m.yaml:3:32: found time zone `Mars/Base`"),
        (BASE + "timestamp: {value: when, format: soon}", "m.yaml:3:34: found `soon`"),
        (BASE + "timestamp: {format: iso}", "without `value`"),
        ("event: X", "a message without `identifiers`"),
        ("identifiers: {user_id: id}", "a track message without `event`"),
        ("identifiers: {userid: id}\nevent: X", "m.yaml:1:15: found `userid`, expected one of user_id"),
        ("identifiers: {email: {value: id, scope: x}}\nevent: X", "a scope of email"),
        ("identifiers: {user_id: id}\ntype: trakc", "m.yaml:2:7: found type `trakc`"),
        ("identifiers: {user_id: id}\ntype: alias", "an alias without identifiers.previous_id"),
        (BASE + "cases: []", "an empty list"),
        (BASE + "cases: [{skip: x, event: Y}]", "a skipped case with fields"),
        (BASE + "cases: [{event: X}, {event: Y}]", "a case without `when` before others"),
        (BASE + "cases: [{when: n, event: X}]", "m.yaml:3:16: found `n`, expected a condition"),
        (BASE + "format: xml", "csv or jsonl"),
        (BASE + "csv: {delimiter: ';;'}", "m.yaml:3:18"),
        (BASE + "csv: {encoding: klingon}", "encoding `klingon`"),
        (BASE + "csv: {header: [a, a]}", "a column name twice"),
        (BASE + "properties: [a]", "a mapping of names to expressions"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_column(mapping: str, mistake: str) -> None:
    with pytest.raises(MappingRefused) as caught:
        parse_mapping("m.yaml", mapping.encode())
    assert mistake in str(caught.value)


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(MappingRefused) as caught:
        parse_mapping("m.yaml", b"evnt: X\nidentifiers: {user: id}\namount: 1 +\n")
    assert len(caught.value.mistakes) >= 3


def test_a_column_that_the_file_does_not_have_is_named_with_its_place() -> None:
    spec = parse_mapping("m.yaml", (BASE + "amount: n * pirce\ncurrency: 'X{curr}'\n").encode())
    with pytest.raises(MappingRefused) as caught:
        bind_mapping(spec, column_of, "f")
    assert [str(mistake) for mistake in caught.value.mistakes] == [
        f"m.yaml:3:13: found no column `pirce`, expected one of {', '.join(HEADER)}",
        f"m.yaml:4:14: found no column `curr`, expected one of {', '.join(HEADER)}",
    ]


def test_a_misspelt_column_gets_a_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("InvoiceNo,Quantity\n1,2\n")
    with pytest.raises(KeyError, match="did you mean Quantity"):
        CsvFile(path, Csv()).column_of(("Quantiy",))


def test_paths_lead_into_json_objects(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"customer": {"id": 7}, "n": 1.50}\n{"customer": null}\n')
    file = JsonLinesFile(path)
    spec = parse_mapping("m.yaml", b"event: X\nidentifiers: {user_id: customer.id}\nproperties: {n: n}\n")
    mapper = bind_mapping(spec, file.column_of, "f")
    first, second = (mapper.message(record.row, record.line) for record in file.records())
    assert first == b'{"messageId":"f-1","type":"track","event":"X","userId":7,"properties":{"n":1.50}}'
    assert second == b'{"messageId":"f-2","type":"track","event":"X"}'


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/config/mappings").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_mappings_are_without_mistakes(path: Path) -> None:
    assert parse_mapping(str(path), path.read_bytes()).cases


ONLINE_RETAIL = [
    ("536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,UK", "Order Line Completed"),
    ("C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527,UK", "Order Refunded"),
    ("536544,21773,BOTTLE,1,2010-12-01 14:32:00,2.51,,UK", "Order Line Completed"),
    ("A563186,B,Adjust bad debt,1,2011-08-12 14:51:00,-11062.06,,UK", "bookkeeping"),
    ("536414,22139,,56,2010-12-01 11:52:00,0.0,,UK", "stock movement"),
    ("536589,21777,,-10,2010-12-01 16:50:00,0.0,,UK", "stock movement"),
    ("537197,22841,ROUND TIN,1,2010-12-05 14:02:00,0.0,12647,Germany", "free item"),
]


def test_every_kind_of_line_of_online_retail_has_its_case(tmp_path: Path) -> None:
    path = tmp_path / "retail.csv"
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    path.write_text("\n".join([header, *(line for line, _ in ONLINE_RETAIL)]))
    mapping = ROOT / "deploy/config/mappings/online_retail.yaml"
    spec = parse_mapping(str(mapping), mapping.read_bytes())
    file = CsvFile(path, spec.csv)
    mapper = bind_mapping(spec, file.column_of, "f")
    for record, (_, expected) in zip(file.records(), ONLINE_RETAIL, strict=True):
        found = mapper.message(record.row, record.line)
        shown = found.reason if isinstance(found, Skip) else json.loads(found)["event"]
        assert shown.startswith(expected)
        if not isinstance(found, Skip):
            assert json.loads(found)["properties"]["total"] > 0
