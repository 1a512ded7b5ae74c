"""Invented customers with planted duplicates, relatives and namesakes, the same for the same number and seed.

Who is one person shares no identifier: those who do were merged long ago. Names follow how common they are in China; a
fifth of the people write theirs in Latin letters.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from pypinyin import lazy_pinyin

FAMILY = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
    "余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
GIVEN = (
    "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂华建国文辉玲玉红春燕梅宇浩欣怡子涵梓轩雨晨思佳嘉俊博"
    "诗雅琪晓东海波鹏飞婷雪莹慧颖倩蕾琳洁云龙志永家天泽瑞"
)
FIRST_NAMES = (
    "anna maria john thomas michael laura peter julia david emma lukas sophie daniel lisa paul nina "
    "simon clara felix eva mark jana tim sara jonas lea max mia ben ida"
)
LAST_NAMES = (
    "smith mueller schmidt jones garcia martin rossi novak silva kowalski weber fischer brown taylor "
    "wilson clark lewis hall young king wright hill green baker adams nelson carter"
)
FIRST, LAST = FIRST_NAMES.split(), LAST_NAMES.split()
CITIES = 300
# Share of the people who are two customers, and of those who have a relative among the customers.
DUPLICATES, RELATIVES = 0.04, 0.04


@dataclass(slots=True)
class People:
    """customers: (id, traits). true: pairs of ids that are one person; relatives: pairs that look alike and are not."""

    customers: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    true: set[tuple[str, str]] = field(default_factory=set)
    relatives: set[tuple[str, str]] = field(default_factory=set)

    def add(self, traits: dict[str, Any]) -> str:
        customer_id = f"c{len(self.customers):07}"
        self.customers.append((customer_id, traits))
        return customer_id


def people(count: int, seed: int = 1) -> People:
    """`count` customers, and at most one more."""
    dice, found = Random(seed), People()
    while len(found.customers) < count:
        person = _person(dice)
        first = found.add(_known(person, dice))
        kind = dice.random()
        if kind < DUPLICATES:
            found.true.add((first, found.add(_known(_again(person, dice), dice))))
        elif kind < DUPLICATES + RELATIVES:
            found.relatives.add((first, found.add(_known(_relative(person, dice), dice))))
    return found


def _zipf(dice: Random, count: int) -> int:
    """0 most often, as common names and large cities are."""
    return min(count - 1, int(count ** dice.random()) - 1 + dice.randrange(2))


def _person(dice: Random) -> dict[str, Any]:
    if dice.random() < 0.8:
        family = FAMILY[_zipf(dice, len(FAMILY))]
        given = "".join(GIVEN[_zipf(dice, len(GIVEN))] for _ in range(2 if dice.random() < 0.8 else 1))
        name, mailbox = family + given, "".join(lazy_pinyin(family + given))
    else:
        first, last = FIRST[dice.randrange(len(FIRST))], LAST[dice.randrange(len(LAST))]
        name, mailbox = f"{first} {last}".title(), f"{first}.{last}"
    city = _zipf(dice, CITIES)
    return {
        "name": name,
        "birthday": f"{dice.randrange(1950, 2008)}-{dice.randrange(1, 13):02}-{dice.randrange(1, 29):02}",
        "phone": f"+861{dice.randrange(3, 10)}{dice.randrange(10**9):09}",
        "email": f"{mailbox}{dice.randrange(3000)}@{_provider(dice)}",
        "city_code": _code(city),
    }  # fmt: skip


def _known(person: dict[str, Any], dice: Random) -> dict[str, Any]:
    """What a source happened to be told."""
    shares = {"name": 0.95, "birthday": 0.5, "phone": 0.6, "email": 0.5}
    known = {name: value for name, value in person.items() if dice.random() < shares.get(name, 1)}
    if dice.random() < 0.2:
        known = {name: value for name, value in known.items() if name != "city_code"}
    return known


def _again(person: dict[str, Any], dice: Random) -> dict[str, Any]:
    """The same person at another counter: another phone, another mailbox, slips."""
    again = person | {"phone": f"+861{dice.randrange(3, 10)}{dice.randrange(10**9):09}"}
    if dice.random() < 0.15:
        again["phone"] = _slip(person["phone"], dice)
    local, _, domain = person["email"].partition("@")
    again["email"] = dice.choice(
        [f"{local}@{_provider(dice)}x", f"{local}+shop@{domain}", f"{_slip(local, dice)}@{domain}"]
    )
    if dice.random() < 0.5:
        again["email"] = f"x{dice.randrange(10**6)}@{_provider(dice)}"
    kind = dice.random()
    name = person["name"]
    if kind < 0.10:
        again["name"] = _turned(name)
    elif kind < 0.20:
        again["name"] = _slip(name, dice) if " " in name else name[0] + "".join(lazy_pinyin(name[1:])).title()
    year, month, day = person["birthday"].split("-")
    if dice.random() < 0.05:
        again["birthday"] = f"{year}-{int(day) % 12 + 1:02}-{month}"
    elif dice.random() < 0.05:
        again["birthday"] = f"{year}-{month}-{int(day) % 28 + 1:02}"
    if dice.random() < 0.1:
        again["city_code"] = _code(dice.randrange(CITIES))
    return again


def _relative(person: dict[str, Any], dice: Random) -> dict[str, Any]:
    """A twin, a sibling or a parent of the same family name and city."""
    other = _person(dice)
    relative = person | {"phone": other["phone"], "email": other["email"]}
    if " " in person["name"]:
        relative["name"] = f"{FIRST[dice.randrange(len(FIRST))].title()} {person['name'].split()[1]}"
    else:
        relative["name"] = person["name"][0] + "".join(GIVEN[_zipf(dice, len(GIVEN))] for _ in person["name"][1:])
    if dice.random() < 0.7:
        relative["birthday"] = other["birthday"]
    return relative


def _code(city: int) -> str:
    """In the form of GB/T 2260: province, city."""
    return f"{11 + city % 31}{city // 31 + 1:02}00"


def _turned(name: str) -> str:
    if " " in name:
        return " ".join(reversed(name.split()))
    return f"{''.join(lazy_pinyin(name[1:])).title()} {''.join(lazy_pinyin(name[0])).title()}"


def _slip(text: str, dice: Random) -> str:
    """One sign left out or typed twice."""
    place = dice.randrange(1, len(text))
    return text[:place] + (text[place] * 2 if dice.random() < 0.5 else "") + text[place + 1 :]


def _provider(dice: Random) -> str:
    return dice.choice(["qq.com", "163.com", "126.com", "gmail.com", "outlook.com"])
