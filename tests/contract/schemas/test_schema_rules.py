"""The rules of schemas/README.md hold for the repository, and the checker catches every kind of violation."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.chassis.schemas import SCHEMAS, fingerprint
from services.chassis.testing.compatibility import problems, released_ids

Edit = Callable[[dict[str, Any]], None]
NEW_ID = 2_000_000_199


def test_the_schemas_of_this_repository_keep_the_rules() -> None:
    assert problems(SCHEMAS, released_ids(SCHEMAS.parent)) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SCHEMAS, tmp_path / "schemas"))


def test_an_edit_under_a_published_id_is_caught(folder: Path) -> None:
    _edit(folder / "touchpoint/v1.avsc", lambda schema: _field(schema, "flags").update(default=1))
    assert _found(folder) == ["touchpoint/v1.avsc was edited under its published id 2000000101"]


def test_a_better_doc_is_no_edit(folder: Path) -> None:
    _edit(folder / "touchpoint/v1.avsc", lambda schema: _field(schema, "flags").update(doc="bits"))
    assert problems(folder) == []


def test_a_fingerprint_changed_along_with_the_schema_is_caught_by_what_was_committed(folder: Path) -> None:
    path = folder / "touchpoint/v1.avsc"
    released = {2_000_000_101: fingerprint(path.read_text())}
    _edit(path, lambda schema: _field(schema, "flags").update(default=1))
    ids = folder / "ids.toml"
    ids.write_text(ids.read_text().replace(released[2_000_000_101], fingerprint(path.read_text())))
    assert _found(folder) == []
    assert "means another schema than the one released" in problems(folder, released)[0]


def test_an_id_that_was_committed_may_not_go(folder: Path) -> None:
    assert problems(folder, {2_000_000_998: "0" * 16}) == [
        "id 2000000998 is gone from ids.toml: values written with it can no longer be read"
    ]


def test_what_was_committed_is_read_from_git(tmp_path: Path, folder: Path) -> None:
    assert released_ids(tmp_path) == {}
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    assert released_ids(tmp_path) == {e["id"]: e["fingerprint"] for e in tomllib.loads(_ids(folder))["schema"]}
    _git(tmp_path, "tag", "v1.0.0")
    first = released_ids(tmp_path)[2_000_000_101]
    (folder / "ids.toml").write_text(_ids(folder).replace(first, "0" * 16))
    _git(tmp_path, "commit", "-q", "-a", "-m", "second")
    assert released_ids(tmp_path)[2_000_000_101] == first


def test_a_file_without_an_id_is_caught(folder: Path) -> None:
    shutil.copy(folder / "touchpoint/v1.avsc", folder / "touchpoint/v1.1.avsc")
    assert _found(folder) == ["touchpoint/v1.1.avsc has no id in ids.toml"]


def test_an_id_that_a_registry_could_give_out_is_caught(folder: Path) -> None:
    (folder / "ids.toml").write_text(_ids(folder).replace("id = 2000000101", "id = 7"))
    assert _found(folder) == ["touchpoint/v1.avsc: id 7 is not between 2000000000 and 2147483647"]


def _added(**field: Any) -> Edit:
    return lambda schema: schema["fields"].append({"name": "extra", "type": "string", "doc": "x", **field})


def _removed(name: str) -> Edit:
    return lambda schema: schema["fields"].remove(_field(schema, name))


def _changed(name: str, /, **attributes: Any) -> Edit:
    return lambda schema: _field(schema, name).update(attributes)


@pytest.mark.parametrize("edit", [_added(default=""), _removed("order_id"), lambda schema: schema["fields"].reverse()])
def test_a_compatible_change_is_accepted_as_a_new_file(folder: Path, edit: Edit) -> None:
    _next_minor(folder, edit)
    assert problems(folder) == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (_added(), "field extra was added without a default"),
        (_removed("source"), "field source was removed, but old readers cannot do without it"),
        (_changed("flags", type="long"), "field flags changed its type"),
        (_changed("identifiers", type={"type": "array", "items": "bytes"}), "field identifiers changed its type"),
        (_changed("flags", default=4), "field flags changed its default"),
        (_changed("source", name="origin"), "field source was removed"),
        (_added(default=None, type=["null", "string"]), "is not flat"),
        (_added(default="a", type={"type": "enum", "name": "e", "symbols": ["a"]}), "is not flat"),
        (_added(default=0.5, type="double"), "is not flat"),
        (_added(default="", doc=""), "field extra has no doc"),
        (_added(default=0, type="long", name="sent_at", doc="when it was sent"), "doc does not say that it is in ms"),
        (lambda schema: schema.update(name="contact"), "expected a record touchstream.touchpoint"),
    ],
)
def test_an_incompatible_or_unreadable_change_is_caught(folder: Path, edit: Edit, expected: str) -> None:
    _next_minor(folder, edit)
    assert any(expected in problem for problem in problems(folder)), problems(folder)


def test_a_change_is_compared_with_every_older_version(folder: Path) -> None:
    _next_minor(folder, _removed("order_id"))
    _next_minor(folder, _added(name="order_id", type="bytes", default=""), minor=2, after=1)
    assert _found(folder) == ["touchpoint/v1.avsc → touchpoint/v1.2.avsc: field order_id changed its type"]


def test_a_new_major_may_break_with_the_old_one(folder: Path) -> None:
    _next_minor(folder, _removed("source"), file="touchpoint/v2.avsc")
    assert problems(folder) == []


def _found(folder: Path) -> list[str]:
    return [re.split(r" \(fingerprint|: give", problem)[0] for problem in problems(folder)]


def _next_minor(folder: Path, edit: Edit, minor: int = 1, after: int = 0, file: str = "") -> None:
    path = folder / (file or f"touchpoint/v1.{minor}.avsc")
    shutil.copy(folder / ("touchpoint/v1.avsc" if not after else f"touchpoint/v1.{after}.avsc"), path)
    _edit(path, edit)
    entry = f'\n[[schema]]\nid = {NEW_ID - minor}\nfile = "{path.parent.name}/{path.name}"\n'
    (folder / "ids.toml").write_text(_ids(folder) + entry + f'fingerprint = "{fingerprint(path.read_text())}"\n')


def _edit(path: Path, edit: Edit) -> None:
    schema = json.loads(path.read_text())
    edit(schema)
    path.write_text(json.dumps(schema, ensure_ascii=False))


def _field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(field for field in schema["fields"] if field["name"] == name)
    return found


def _ids(folder: Path) -> str:
    return (folder / "ids.toml").read_text()


def _git(where: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", where, *identity, *arguments], check=True, capture_output=True)
