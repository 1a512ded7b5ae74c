"""`touchstream identity unlink` on a real graph and a real engine: what it says besides what it did."""

from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli import identity
from cli.main import app
from services.identity.handler import CHANGES
from tests.integration.test_identity_history import ANNA, BERT, LAPTOP, PHONE, TABLET, World
from tests.integration.test_identity_replay import database, policies, world
from tests.property.identity.graph_lab import CODECS

__all__ = ["database", "policies", "world"]
MOOT = "was refused before, would not be now"


def unlink(world: World, monkeypatch: pytest.MonkeyPatch, *identifiers: str) -> Result:
    """The command, whose correction goes into the graph, as through Kafka."""

    def correct(_: object, kind: str, asked: Sequence[str], properties: dict[str, object]) -> list[dict[str, Any]]:
        before = len(world.lab.sent)
        world.happens(kind, *asked, is_pair="pair" in properties)
        return [CODECS["identity_change"].decode(o.value) for o in world.lab.sent[before:] if o.topic == CHANGES]

    monkeypatch.setattr(identity, "correct", correct)
    result = CliRunner().invoke(app, ["identity", "unlink", *identifiers, "--yes"], env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    return result


def mistaken(world: World) -> None:
    """Anna is said to have somebody's phone; Bert, whose it is, is kept apart, and from Anna's laptop, too."""
    world.happens("event", PHONE, TABLET)
    world.happens("event", ANNA, PHONE)
    assert world.happens("event", BERT, PHONE) == ["conflict", "linked"]
    world.happens("event", ANNA, LAPTOP)
    assert world.happens("event", BERT, LAPTOP) == ["conflict"]


def test_an_unlink_says_which_refusals_it_made_moot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mistaken(world)
    said = [line for line in unlink(world, monkeypatch, ANNA, PHONE).output.splitlines() if MOOT in line]
    assert len(said) == 1, "with the laptop Anna is still another person"
    assert "user_id:ber****444 and phone:+86139****5678 (event m2 of shop)" in said[0]

    assert world.happens("link", BERT, PHONE) == ["merged", "linked"], "the graph would not refuse it now"
    assert world.customer(BERT) == world.customer(TABLET) != world.customer(ANNA)


def test_what_is_one_or_still_kept_apart_is_not_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mistaken(world)
    assert MOOT not in unlink(world, monkeypatch, TABLET, PHONE).output, "Anna has the phone still"
    world.happens("unlink", ANNA, PHONE, is_pair=True)
    world.happens("link", BERT, PHONE)
    assert MOOT not in unlink(world, monkeypatch, LAPTOP).output, "whoever used the laptop, it was not to count"


def test_without_clickhouse_the_unlink_stands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mistaken(world)
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", "http://127.0.0.1:9")
    result = unlink(world, monkeypatch, ANNA, PHONE)
    assert "parted from" in result.output
    assert "the unlink stands" in result.output
