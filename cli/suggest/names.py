"""A person's name in the forms that are compared: as written, by sound, and by what typing and dialects blur.

Chinese and Latin names meet in their sound: 李小明 is pinyin lixiaoming, "Xiaoming Li" is that turned round.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from pypinyin import lazy_pinyin

_HAN = re.compile(r"[㐀-䶿一-鿿豈-﫿]+")
_NO_LETTER = re.compile(r"[^\w\s,*·]|[\d_]")
# Forms of address that stand beside a name and are none.
_TITLES = frozenset({"mr", "mrs", "ms", "miss", "dr", "prof", "herr", "frau"})
_HAN_TITLES = re.compile(r"(先生|女士|小姐|老师|同学|总|经理)$")
_PARTICLES = frozenset({"van", "von", "der", "den", "de", "del", "della", "di", "da", "dos", "la", "le", "bin", "al"})
# Family names of two characters, and those whose character sounds different as a family name.
_COMPOUND = frozenset(
    re.findall(
        "..", "欧阳司马上官诸葛司徒东方独孤南宫夏侯皇甫尉迟公孙慕容令狐长孙宇文司空端木轩辕百里呼延澹台拓跋闻人东郭西门"
    )
)
_FAMILY_SOUND = {
    "曾": "zeng", "单": "shan", "仇": "qiu", "解": "xie", "盖": "ge", "查": "zha", "任": "ren",
    "华": "hua", "朴": "piao", "区": "ou", "覃": "qin", "翟": "zhai", "乐": "yue", "缪": "miao",
    "秘": "bi", "折": "she", "洗": "xian", "员": "yun", "尉迟": "yuchi", "繁": "po", "盛": "sheng",
    "召": "shao", "晁": "chao", "褚": "chu", "宓": "fu", "重": "chong",
}  # fmt: skip
# What is heard or typed as the other: zh/z, ch/c, sh/s, final ng/n, and ü as passports and keyboards write it.
_BLURRED = (
    ("zh", "z"),
    ("ch", "c"),
    ("sh", "s"),
    ("ng", "n"),
    ("lyu", "lu"),
    ("nyu", "nu"),
    ("lv", "lu"),
    ("nv", "nu"),
)


@dataclass(frozen=True, slots=True)
class Name:
    """given, family: as written, in one case, without accents; sounds: letters only. Empty = not known.

    whole and turned: the sound of the whole name in its usual order and with its last part first.
    """

    given: str
    family: str
    given_sound: str
    family_sound: str
    whole: str
    turned: str
    is_han: bool


def parse_name(name: str = "", given: str = "", family: str = "") -> Name | None:
    """The name from its parts, or where those are not known from the whole; None when nothing is left of it.

    A part hidden by asterisks (张**) counts as unknown. A whole Latin name is read as given names, then family name,
    "Li, Xiaoming" the other way round; a Chinese one as family name, then given name.
    """
    first, last = _clean(given), _clean(family)
    if not first and not last:
        first, last = _split(_clean(name))
    first, last = _known(first), _known(last)
    if not first and not last:
        return None
    is_han = bool(_HAN.search(first + last))
    given_sound, family_sound = _sound(first), _FAMILY_SOUND.get(last) or _sound(last)
    order = (family_sound, given_sound) if is_han else (given_sound, family_sound)
    return Name(first, last, given_sound, family_sound, order[0] + order[1], order[1] + order[0], is_han)


def blurred(sound: str) -> str:
    """A pinyin sound without the differences that dialects and keyboards make."""
    for heard, same in _BLURRED:
        sound = sound.replace(heard, same)
    return sound


def plain(text: str) -> str:
    """Text in one case and width without accents, single blanks."""
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(sign for sign in decomposed if unicodedata.category(sign) != "Mn").split())


def _clean(text: str) -> str:
    words = _NO_LETTER.sub(" ", plain(text).replace("-", " ").replace("'", "").replace("•", "·")).split()
    return _HAN_TITLES.sub("", " ".join(word for word in words if word.rstrip(",") not in _TITLES))


def _known(part: str) -> str:
    return "" if "*" in part else part.strip(" ,·")


def _split(name: str) -> tuple[str, str]:
    """(given, family) of a whole name."""
    bare = name.replace(" ", "")
    if _HAN.match(bare) and "·" not in bare:
        cut = 2 if bare[:2] in _COMPOUND and len(bare) > 2 else 1
        return bare[cut:], bare[:cut]
    if "," in name:
        last, _, first = name.partition(",")
        return first, last
    words = name.replace("·", " ").split()
    if len(words) < 2:
        return name, ""
    cut = len(words) - 1
    while cut > 1 and words[cut - 1] in _PARTICLES:
        cut -= 1
    return " ".join(words[:cut]), " ".join(words[cut:])


@lru_cache(maxsize=65_536)
def _sound(part: str) -> str:
    """Letters only; Chinese characters as pinyin without tones."""
    text = "".join(lazy_pinyin(part)) if _HAN.search(part) else part
    return "".join(sign for sign in text if sign.isalpha())
