"""Which pairs are compared at all: those that agree on a key. Linear in the number of customers, whatever they hold.

A key value that more than MAX_BLOCK customers share finds nobody (张伟 alone, an office's phone): its pairs are found
by narrower keys. So a key gives at most customers × (MAX_BLOCK - 1) / 2 pairs. Lower: rare agreements of people with a
common name are missed. Higher: time, and pairs that agree on nothing else.
"""

MAX_BLOCK = 60

_NAME = "least(whole, turned)"
_PLACE = "coalesce(postcode, city)"
# Key → SQL over the columns of cli/suggest/features.py; null where a part is not known.
KEYS = {
    "by_phone": "phone7",
    "by_phone_end": "phone4 || family",
    "by_email": "email_local",
    "by_name": _NAME,
    "by_name_place": f"{_NAME} || ' ' || coalesce(city, province)",
    "by_name_year": f"{_NAME} || substr(birth, 1, 4)",
    "by_birth": "birth",
    "by_birth_family": "birth || family",
    "by_birth_given": "birth || given",
    "by_day_family": "substr(birth, 6) || family",
    "by_month_given": "substr(birth, 1, 7) || given",
    "by_place_given": f"{_PLACE} || ' ' || given",
    "by_place_family": f"{_PLACE} || ' ' || family",
    "by_place_day": f"{_PLACE} || ' ' || substr(birth, 6)",
    "by_start": "substr(family, 1, 3) || substr(given, 1, 3) || substr(birth, 1, 4)",
}


def keyed(table: str) -> str:
    """SQL: the table with its keys; a key is null where it would hold more than MAX_BLOCK customers."""
    inner = ", ".join(f"{sql} as {name}" for name, sql in KEYS.items())
    outer = ", ".join(
        f"case when count(*) over (partition by {name}) <= {MAX_BLOCK} then {name} end as {name}" for name in KEYS
    )
    return f"select * exclude ({', '.join(KEYS)}), {outer} from (select *, {inner} from {table})"
