"""The people of the shop: names, identifiers and devices. The same run number, token and place give the same person.

Everything that identifies is new in every run, or the customers of two runs would merge. Values are synthetic: mail
addresses end in example.com (RFC 2606), and nothing that the local stack writes to leaves the machine.
"""

from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from unicodedata import normalize
from uuid import UUID

CORP_ID = "ww8d1f0shopdemo"
_FAMILY = (
    ("王", "wang"), ("李", "li"), ("张", "zhang"), ("刘", "liu"), ("陈", "chen"), ("杨", "yang"), ("赵", "zhao"),
    ("黄", "huang"), ("周", "zhou"), ("吴", "wu"), ("徐", "xu"), ("孙", "sun"), ("胡", "hu"), ("林", "lin"),
)  # fmt: skip
_GIVEN = (
    ("芳", "fang"), ("伟", "wei"), ("秀英", "xiuying"), ("娜", "na"), ("敏", "min"), ("静", "jing"), ("磊", "lei"),
    ("洋", "yang"), ("艳", "yan"), ("勇", "yong"), ("杰", "jie"), ("娟", "juan"), ("涛", "tao"), ("明", "ming"),
    ("子涵", "zihan"), ("雨桐", "yutong"), ("浩然", "haoran"), ("思远", "siyuan"),
)  # fmt: skip
_FIRST = ("Emma", "James", "Sofia", "Liam", "Olivia", "Noah", "Mia", "Lucas", "Anna", "David", "Grace", "Oscar", "Ruth")
_LAST = ("Smith", "Müller", "García", "Rossi", "Brown", "Novák", "Dubois", "Jensen", "O'Brien", "Kim", "Silva", "Wood")
_PLACES = (
    ("北京", "北京市"),
    ("上海", "上海市"),
    ("广东", "深圳"),
    ("广东省", "广州市"),
    ("浙江", "杭州"),
    ("四川", "成都市"),
)
# Three digits that any eight may follow in the Chinese numbering plan.
_PREFIXES = [*range(130, 140), *range(150, 154), *range(155, 160), *range(180, 190)]
_NUMBERS = len(_PREFIXES) * 10**8
# Coprime to _NUMBERS (2^8·5^8·29), so that counting people up gives every number once, in an order that looks random.
_STEP = 1_234_567_891
# More people than a run has; a later run begins with the number after them.
PEOPLE_PER_RUN = 100_000


@dataclass(frozen=True, slots=True)
class Device:
    """A browser (no device id) or an app, with the anonymous id that its SDK made up."""

    anonymous_id: str
    device_id: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """One person. `phone` and `email` in standard form; empty where the person has none."""

    place: int
    name: str
    language: str
    user_id: str
    phone: str
    email: str
    union_id: str
    external_userid: str
    region: tuple[str, str]
    devices: tuple[Device, ...]


def make_person(run: int, token: str, place: int, random: Random, devices: int) -> Person:
    """The person at `place` of a run with that many devices; choices are taken from `random`."""
    is_chinese = random.random() < 0.75
    if is_chinese:
        (family, family_text), (given, given_text) = random.choice(_FAMILY), random.choice(_GIVEN)
        name, local = family + given, f"{given_text}.{family_text}"
    else:
        first, last = random.choice(_FIRST), random.choice(_LAST)
        plain = normalize("NFKD", f"{first}.{last}".lower())
        name, local = f"{first} {last}", "".join(c for c in plain if c.isascii() and c != "'")
    unique = f"{token}{place:05d}"
    return Person(
        place, name, "zh" if is_chinese else "en", f"u-{unique}",
        _phone(run, place) if is_chinese else "",
        "" if is_chinese and random.random() < 0.12 else f"{local}.{unique}@example.com",
        _hex("union", unique, 14) if is_chinese and random.random() < 0.5 else "",
        f"wm{_hex('wecom', unique, 15)}" if is_chinese and random.random() < 0.45 else "",
        random.choice(_PLACES), tuple(_device(unique, n, random) for n in range(devices)),
    )  # fmt: skip


def _device(unique: str, n: int, random: Random) -> Device:
    anonymous_id = str(UUID(_hex(f"anonymous{n}", unique, 16)))
    return Device(anonymous_id, str(UUID(_hex(f"device{n}", unique, 16))) if n and random.random() < 0.7 else "")


def _phone(run: int, place: int) -> str:
    prefix, rest = divmod((run * PEOPLE_PER_RUN + place) * _STEP % _NUMBERS, 10**8)
    return f"+86{_PREFIXES[prefix]}{rest:08d}"


def _hex(kind: str, unique: str, size: int) -> str:
    return blake2b(f"{kind}/{unique}".encode(), digest_size=size).hexdigest()
