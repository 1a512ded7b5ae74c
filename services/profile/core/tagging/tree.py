"""What a condition is made of, once it has been read. Values only: parse.py makes them, compile.py code."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a text, true or false."""

    value: float | str | bool


@dataclass(frozen=True, slots=True)
class Window:
    """A sum over the last `days` business days, today included; days 0: over all time.

    name: of a counter, or of vocabulary.BUILT_IN. is_count: no event adds more than 1 to it.
    """

    name: str
    days: int
    is_count: bool = False


@dataclass(frozen=True, slots=True)
class Since:
    """Whole business days since the latest of these moments; `events`: since the last event of these names."""

    moments: tuple[str, ...]
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """r, f, m or composite; NaN while unknown, so that no comparison with it holds."""

    name: str


@dataclass(frozen=True, slots=True)
class Percentile:
    """In per cent of the buyers: how many of 99 cut points lie below this customer's value."""

    of: str


@dataclass(frozen=True, slots=True)
class MonthsFalling:
    """How many of the last complete calendar months in a row had fewer than the month before."""

    name: str


@dataclass(frozen=True, slots=True)
class Trait:
    """The current value of a trait; asked: whether there is one."""

    name: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """The lifecycle stage."""


@dataclass(frozen=True, slots=True)
class Tag:
    """Whether another tag holds."""

    name: str


@dataclass(frozen=True, slots=True)
class After:
    """Whether the last of one moment came later than another."""

    later: str
    earlier: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """left (+ - * /) right."""

    sign: str
    left: "Value"
    right: "Value"


Value = Constant | Window | Since | Score | Percentile | MonthsFalling | Trait | Stage | Arithmetic


@dataclass(frozen=True, slots=True)
class Compare:
    """left (< <= > >= == !=) right."""

    sign: str
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """Whether the value is one of these."""

    value: Value
    options: tuple[float | str | bool, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """Whether a trait that is a list has this item; another value is a list of itself."""

    trait: Trait
    item: float | str | bool


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    of: "Condition"


@dataclass(frozen=True, slots=True)
class All:
    """and."""

    of: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """or."""

    of: tuple["Condition", ...]


Atom = Compare | OneOf | Contains | Trait | Tag | After
Condition = Atom | Not | All | Any


def atoms(condition: Condition) -> tuple[Atom, ...]:
    """Every atom of a condition, left to right."""
    if isinstance(condition, Not):
        return atoms(condition.of)
    if isinstance(condition, All | Any):
        return tuple(atom for part in condition.of for atom in atoms(part))
    return (condition,)


def values(value: Value) -> tuple[Value, ...]:
    """A value and what it is computed from."""
    if isinstance(value, Arithmetic):
        return (*values(value.left), *values(value.right))
    return (value,)


def values_of(atom: Atom) -> tuple[Value, ...]:
    """The values that an atom looks at."""
    if isinstance(atom, Compare):
        return (*values(atom.left), *values(atom.right))
    if isinstance(atom, OneOf):
        return values(atom.value)
    if isinstance(atom, Contains):
        return (atom.trait,)
    return ()
