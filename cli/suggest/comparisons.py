"""What is compared of two customers, in levels from full agreement to plain difference. Data only, no library.

A level holds for a pair when its condition is the first that is true. m is how often two records of one person stand on
that level before anything was learned: what EM starts from, and what is kept where a population teaches too little.
u: how often two different people do; a population of a few hundred customers knows it better than we do.
"""

from dataclasses import dataclass

NEAR = 0.88
VERY_NEAR = 0.92
GENERATION_YEARS = 12


@dataclass(frozen=True, slots=True)
class Level:
    """sql: over columns of cli/suggest/features.py with _l and _r. frequency_of: column whose values may be rarer or
    commoner than the level's average, which then counts."""

    words: str
    m: float
    u: float
    sql: str
    frequency_of: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One question about a pair. unknown: when it says nothing. `column` decides whether a population is asked it."""

    title: str
    column: str
    unknown: str
    levels: tuple[Level, ...]
    otherwise: str
    otherwise_m: float

    @property
    def shipped_m(self) -> list[float]:
        """m from the first level to `otherwise`."""
        return [*(level.m for level in self.levels), self.otherwise_m]

    @property
    def shipped_u(self) -> list[float]:
        """u likewise."""
        shares = [level.u for level in self.levels]
        return [*shares, 1 - sum(shares)]

    def words(self, level: int) -> str:
        """What a pair is told on splink's number of a level: 0 = otherwise, the first level has the highest."""
        return self.levels[-level].words if level else self.otherwise


def _near(column: str) -> str:
    """Latin spellings that are close, or a Chinese name whose sound only a dialect tells apart."""
    latin = f"not is_han_l and not is_han_r and jaro_winkler_similarity({column}_l, {column}_r) >= {NEAR}"
    han = f"(is_han_l or is_han_r) and {column}_blurred_l = {column}_blurred_r"
    return f"(({latin}) or ({han}))"


_SHORT = (
    "(not is_han_l and not is_han_r and least(length(given_l), length(given_r)) = 1"
    " and substr(given_l, 1, 1) = substr(given_r, 1, 1))"
)

NAME = Comparison(
    "name", "whole", "whole_l is null or whole_r is null",
    (
        Level("the same", 0.55, 2e-05, "name_l = name_r", "name"),
        Level(
            "the same in another order, script or with the same sound", 0.08, 2e-05,
            "whole_l = whole_r or whole_l = turned_r or turned_l = whole_r", "whole",
        ),
        Level(
            "one part the same, the other nearly", 0.15, 0.0001,
            f"(given_l = given_r and {_near('family')}) or (family_l = family_r and ({_near('given')} or {_SHORT}))",
        ),
        Level(
            "nearly the same", 0.08, 5e-05,
            f"({_near('family')} and {_near('given')})"
            f" or (not is_han_l and not is_han_r and (jaro_winkler_similarity(whole_l, whole_r) >= {VERY_NEAR}"
            f" or jaro_winkler_similarity(whole_l, turned_r) >= {VERY_NEAR}))",
        ),
        Level(
            "one part the same, the other not known", 0.04, 0.0001,
            "(given_l = given_r and (family_l is null or family_r is null))"
            " or (family_l = family_r and (given_l is null or given_r is null))",
        ),
        Level("given name the same, family name different", 0.05, 0.005, "given_l = given_r", "given"),
        # Brothers, twins, father and son: a person seldom has two given names that nothing joins.
        Level("family name the same, given name different", 0.006, 0.008, "family_l = family_r"),
    ),
    "different", 0.044,
)  # fmt: skip

BIRTH = Comparison(
    "birthday", "birth", "birth_l is null or birth_r is null",
    (
        Level("the same", 0.86, 4e-05, "birth_l = birth_r", "birth"),
        Level("day and month exchanged", 0.03, 5e-06, "birth_l = birth_turned_r"),
        Level("one digit off", 0.06, 0.0008, "damerau_levenshtein(birth_l, birth_r) = 1"),
        Level(
            "two of year, month and day the same", 0.025, 0.006,
            "substr(birth_l, 1, 7) = substr(birth_r, 1, 7) or substr(birth_l, 6) = substr(birth_r, 6)"
            " or (substr(birth_l, 1, 4) = substr(birth_r, 1, 4) and substr(birth_l, 9) = substr(birth_r, 9))",
        ),
        Level(
            f"{GENERATION_YEARS} years apart or more", 0.005, 0.55,
            f"abs(cast(substr(birth_l, 1, 4) as int) - cast(substr(birth_r, 1, 4) as int)) >= {GENERATION_YEARS}",
        ),
    ),
    "different", 0.02,
)  # fmt: skip

PHONE = Comparison(
    "phone", "phone4", "phone4_l is null or phone4_r is null",
    (
        Level("the same number", 0.10, 1e-07, "phone_l = phone_r"),
        Level("last 8 digits the same", 0.08, 1e-07, "phone8_l = phone8_r"),
        Level("last 7 digits the same", 0.04, 1e-06, "phone7_l = phone7_r"),
        Level("one digit off", 0.08, 1e-06, "damerau_levenshtein(phone_l, phone_r) = 1"),
        Level("last 4 digits the same", 0.08, 0.0001, "phone4_l = phone4_r"),
    ),
    "different", 0.62,
)  # fmt: skip

EMAIL = Comparison(
    "e_mail", "email", "email_l is null or email_r is null",
    (
        Level("the same", 0.08, 1e-06, "email_l = email_r", "email"),
        Level(
            "the same before the @, apart from dots and +", 0.22, 5e-05, "email_local_l = email_local_r", "email_local",
        ),
        Level(
            "nearly the same before the @", 0.12, 0.0005,
            # Mailboxes are made of names: zhangwei81 and zhangwei82 are two namesakes, so the digits must agree.
            "least(length(email_local_l), length(email_local_r)) >= 6"
            " and damerau_levenshtein(email_local_l, email_local_r) = 1"
            " and regexp_replace(email_local_l, '[^0-9]', '', 'g') = regexp_replace(email_local_r, '[^0-9]', '', 'g')",
        ),
    ),
    "different", 0.58,
)  # fmt: skip

REGION = Comparison(
    "region", "province",
    "coalesce(postcode_l, city_l, province_l) is null or coalesce(postcode_r, city_r, province_r) is null",
    (
        Level("the same postcode", 0.40, 0.002, "postcode_l = postcode_r", "postcode"),
        Level("the same city", 0.30, 0.03, "city_l = city_r", "city"),
        # Codes that look alike are of other cities.
        Level(
            "nearly the same city", 0.05, 0.003,
            f"not regexp_matches(city_l, '[0-9]') and jaro_winkler_similarity(city_l, city_r) >= {NEAR}",
        ),
        Level("the same province", 0.10, 0.06, "province_l = province_r"),
    ),
    "different", 0.15,
)  # fmt: skip

COMPARISONS = (NAME, BIRTH, PHONE, EMAIL, REGION)
