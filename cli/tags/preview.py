"""What a file of definitions would say of everybody now, beside what is said: counts and examples. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from services.profile.core.config import ProfileConfig
from services.profile.core.judgement import judgement
from services.profile.core.state import Conclusion, Part, TagState, Thresholds
from services.profile.core.tagging.catalogue import Catalogue
from services.profile.core.tags import conclude

# Stages stand among the effects under this prefix, as segments do under theirs.
STAGE = "stage:"


@dataclass(slots=True)
class Effect:
    """Of a tag or stage: who holds it now, who would; examples of whom it would come to and leave: (id, reason)."""

    name: str
    now: int = 0
    then: int = 0
    gained: int = 0
    lost: int = 0
    gains: list[tuple[str, str]] = field(default_factory=list)
    losses: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Preview:
    """`customers`: looked at; effects by name of the tag, stages as stage:<name>."""

    customers: int
    effects: dict[str, Effect]


def preview(
    histories: Iterable[tuple[str, tuple[Part, ...]]],
    held: Callable[[str], Mapping[str, str]],
    thresholds: Thresholds | None,
    now_ms: int,
    config: ProfileConfig,
    most: int,
) -> Preview:
    """Judge everybody by `config`; held: customer id → what is held now (name → reason), "stage" → the stage.

    A tag with `ends` that is held stays where only that says so, as it would live.
    """
    effects = {definition.name: Effect(definition.name) for definition in config.catalogue.tags}
    effects |= {STAGE + stage.name: Effect(STAGE + stage.name) for stage in config.catalogue.stages}
    customers = 0
    for customer_id, parts in histories:
        customers += 1
        now = dict(held(customer_id))
        stage = now.pop("stage", "")
        before = Conclusion({name: TagState(0, "", reason) for name, reason in now.items()}, stage)
        facts = judgement(parts, now_ms, thresholds, config).facts
        after, _ = conclude(facts, [before], "", now_ms, config)
        then = {name: state.reason for name, state in after.tags.items()}
        then[STAGE + after.stage] = ""
        if stage:
            now[STAGE + stage] = ""
        for name, effect in effects.items():
            _count(effect, customer_id, name in now, name in then, then.get(name, now.get(name, "")), most)
    return Preview(customers, effects)


def _count(effect: Effect, customer_id: str, is_held: bool, will_be: bool, reason: str, most: int) -> None:
    effect.now += is_held
    effect.then += will_be
    if will_be and not is_held:
        effect.gained += 1
        if len(effect.gains) < most:
            effect.gains.append((customer_id, reason))
    elif is_held and not will_be:
        effect.lost += 1
        if len(effect.losses) < most:
            effect.losses.append((customer_id, reason))


def changed(new: Catalogue, running: Catalogue) -> list[str]:
    """Names of what is new or says something else than in the running file, or is gone; stages as stage:<name>.

    A stage says something else when one above it does: whom that takes or leaves comes out of, or falls to, this one.
    """
    versions = _versions(running)
    found = [name for name, version in _versions(new).items() if versions.pop(name, None) != version]
    return found + sorted(versions)


def _versions(catalogue: Catalogue) -> dict[str, str]:
    stages = {STAGE + stage.name: stage.version for stage in catalogue.stages}
    return stages | {definition.name: definition.version for definition in catalogue.tags}
