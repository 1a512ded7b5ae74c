"""A suggestion from the list to the answer, on the whole stack: accepted it is one customer, refused it stays away."""

import json
from typing import Any

import httpx

from tests.e2e.conftest import RunningStack

PEOPLE: dict[str, dict[str, Any]] = {
    # One person, who told the second counter another phone and mailbox and spells the name in Latin letters.
    "+8613800010001": {
        "name": "诸葛孔明", "birthday": "1981-07-23", "province": "四川", "city": "成都",
        "email": "km.zhuge@shu.example",
    },
    "+8613900020002": {
        "name": "Kongming Zhuge", "birthday": "1981-07-23", "province": "四川", "city": "成都",
        "email": "kmzhuge+shop@wuzhang.example",
    },
    # Two people with one name and birthday, as somebody found out by asking them.
    "+8613800030003": {"name": "上官婉儿", "birthday": "1964-02-29", "province": "陕西", "city": "西安"},
    "+8613900040004": {"name": "上官婉儿", "birthday": "1964-02-29", "province": "陕西", "city": "西安"},
}  # fmt: skip
HAN, LATIN, FIRST, SECOND = PEOPLE
FAMILIES, GIVEN = "王李张刘陈杨赵黄周吴", "伟芳娜秀敏静丽强磊军"


def strangers() -> list[dict[str, Any]]:
    """A hundred people who have nothing in common but a family name here and a given name there."""
    return [
        {
            "name": family + given, "birthday": f"{1950 + 5 * row}-{1 + column:02}-{1 + 2 * row + column:02}",
            "phone": f"+86137{row:04}{column:04}",
        }
        for row, family in enumerate(FAMILIES)
        for column, given in enumerate(GIVEN)
    ]  # fmt: skip


def suggested(stack: RunningStack) -> dict[frozenset[str], dict[str, Any]]:
    lines = stack.must("identity", "suggest", "--json").splitlines()
    found = [json.loads(line) for line in lines]
    return {frozenset(side["customer_id"] for side in one["customers"]): one for one in found}


def test_an_accepted_pair_is_one_customer_and_a_refused_one_never_comes_back(running_stack: RunningStack) -> None:
    stated = [traits | {"phone": phone} for phone, traits in PEOPLE.items()] + strangers()
    batch = [
        {"type": "identify", "messageId": f"suggest-{number}", "anonymousId": f"suggest-{number}", "traits": traits}
        for number, traits in enumerate(stated)
    ]
    answer = httpx.post(f"{running_stack.ingest_url}/v1/batch", json={"batch": batch}, auth=("local", ""), timeout=30)
    assert answer.status_code == 200, answer.text
    running_stack.settle()
    han, latin, first, second = customers(running_stack)
    found = suggested(running_stack)
    assert set(found) == {frozenset((han, latin)), frozenset((first, second))}

    # By customer id: the command finds an identifier of each side by itself.
    told = running_stack.must("identity", "suggest", "accept", han, latin, "--author", "王芳", "--yes")
    assert "merged: customer" in told
    assert "linked by 王芳: Suggested with" in told.replace("\n", " ")
    told = running_stack.must(
        "identity", "suggest", "refuse", f"phone:{FIRST}", f"phone:{SECOND}", "--author", "王芳",
        "--reason", "namesakes, I asked", "--yes",
    )  # fmt: skip
    assert "refused by 王芳: namesakes, I asked" in told.replace("\n", " ")
    running_stack.settle()

    one, other, first, second = customers(running_stack)
    assert one == other
    assert first != second
    assert suggested(running_stack) == {}
    traits = running_stack.query(f"SELECT events FROM customers WHERE customer_id = '{one}'")
    assert traits == [(2,)]
    running_stack.must("identity", "suggest", "accept", han, latin, "--yes", code=1)
    running_stack.must("identity", "suggest", "accept", first, second, "--yes", code=1)


def customers(stack: RunningStack) -> list[str]:
    """The customers of PEOPLE, in their order."""
    lines = stack.must("resolve", stdin="\n".join(f"phone:{phone}" for phone in PEOPLE)).splitlines()
    return [json.loads(line)["customer_id"] for line in lines]
