"""Provinces and prefecture-level cities of China: any usual name → one name and its GB/T 2260 code.

The divisions come from python-stdnum, which keeps GB/T 2260 with the years in which each code was valid; only codes
valid today are used. Hong Kong, Macau and Taiwan are not in its table and stand here.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from stdnum import numdb

_PROVINCE_CODES = range(11, 66)
_BY_HAND = {"710000": "台湾省", "810000": "香港特别行政区", "820000": "澳门特别行政区"}
_MUNICIPALITIES = ("11", "12", "31", "50")
_ENTRY = re.compile(r"(?:\[\d*-(\d*)\])?([^,\[\]]+)")
_CITY_ENDINGS = ("市", "地区", "盟", "自治州")
_PROVINCE_ENDINGS = ("壮族自治区", "回族自治区", "维吾尔自治区", "特别行政区", "自治区", "省", "市")
_ETHNIC = re.compile(
    "(?:朝鲜族|土家族|苗族|藏族|羌族|彝族|布依族|侗族|哈尼族|壮族|傣族|白族|景颇族|傈僳族|回族|蒙古族|蒙古|哈萨克|柯尔克孜)+$"
)
# As forms in English write them; two provinces share a pinyin, so Shaanxi has its own spelling.
_ENGLISH = {
    "beijing": "11", "tianjin": "12", "hebei": "13", "shanxi": "14", "inner mongolia": "15", "neimenggu": "15",
    "liaoning": "21", "jilin": "22", "heilongjiang": "23", "shanghai": "31", "jiangsu": "32", "zhejiang": "33",
    "anhui": "34", "fujian": "35", "jiangxi": "36", "shandong": "37", "henan": "41", "hubei": "42", "hunan": "43",
    "guangdong": "44", "guangxi": "45", "hainan": "46", "chongqing": "50", "sichuan": "51", "guizhou": "52",
    "yunnan": "53", "tibet": "54", "xizang": "54", "shaanxi": "61", "gansu": "62", "qinghai": "63", "ningxia": "64",
    "xinjiang": "65", "taiwan": "71", "hong kong": "81", "hongkong": "81", "macau": "82", "macao": "82",
}  # fmt: skip


class Region(NamedTuple):
    """A division: its six-digit code and its official name."""

    code: str
    name: str


def find_province(text: str) -> Region | None:
    """ "北京", "北京市", "110000", "11", "Beijing" → 110000 北京市; None when it is no province."""
    return _provinces().get(text.strip().casefold())


def find_city(text: str) -> Region | None:
    """ "深圳", "深圳市", "440300" → 440300 深圳市; a municipality is also a city (110100 北京市)."""
    return _cities().get(text.strip().casefold())


@lru_cache(maxsize=1)
def _provinces() -> dict[str, Region]:
    found: dict[str, Region] = {}
    names = {f"{p}0000": _name(f"{p}0000", "province") for p in _PROVINCE_CODES} | _BY_HAND
    for code, name in names.items():
        if name:
            short = next(name.removesuffix(end) for end in _PROVINCE_ENDINGS if name.endswith(end))
            found |= dict.fromkeys((code, code[:2], name, short), Region(code, name))
    for english, prefix in _ENGLISH.items():
        found[english] = found[prefix]
    return found


@lru_cache(maxsize=1)
def _cities() -> dict[str, Region]:
    found: dict[str, Region] = {}
    for province in _PROVINCE_CODES:
        codes = [f"{province}{n:02}00" for n in range(1, 90)] + [f"{province}90{n:02}" for n in range(1, 100)]
        for code in codes:
            name = _name(code, "county")
            if name.endswith(_CITY_ENDINGS) and len(name) > 2:
                for key in (code, name, _short_city(name)):
                    found.setdefault(key, Region(code, name))
    for prefix in _MUNICIPALITIES:
        name = _provinces()[prefix].name
        for key in (f"{prefix}0100", name, name.removesuffix("市")):
            found[key] = Region(f"{prefix}0100", name)
    return found


def _short_city(name: str) -> str:
    for end in _CITY_ENDINGS:
        if name.endswith(end):
            bare = name.removesuffix(end)
            return _ETHNIC.sub("", bare) if end == "自治州" else bare
    return name


def _name(code: str, level: str) -> str:
    """Today's name of a code, empty when it has none. Entries read "[1983-1996]old,[1997-]new" or just "name"."""
    for _, properties in numdb.get("cn/loc").info(code):
        for entry in str(properties.get(level, "")).split(","):
            match = _ENTRY.fullmatch(entry)
            if match and not match[1]:
                return match[2]
    return ""
