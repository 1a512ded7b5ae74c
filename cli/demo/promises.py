"""Which rules promise exactly one trigger for a customer, and to whom: read from the rules' folder, so that a stack
with other rules is held to these. Rules that wait for tags, stages or conditions promise nothing that books can know.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cli.demo.books import Account
from cli.demo.sender import DemoError
from deploy.local.settings import ROOT
from services.chassis.settings import env_name
from services.rules.adapters import read_folder
from services.rules.core.model import On, Rule
from services.rules.core.syntax import RulesRefused, parse_rules
from services.rules.settings import RulesSettings


@dataclass(frozen=True, slots=True)
class Promise:
    """The rule fires once for who did `event`. `is_first`: not for those of whom an import already told it."""

    rule: str
    event: str
    is_first: bool

    def is_due(self, account: Account) -> bool:
        """Whether that customer must have its trigger. History never fires a rule."""
        return self.event in account.live and not (self.is_first and self.event in account.imported)


def read_promises(environ: Mapping[str, str] | None = None) -> list[Promise]:
    """Those of the folder that the rules service reads, by name. Raises DemoError."""
    default = str(RulesSettings.model_fields["folder"].default)
    folder = ROOT / (os.environ if environ is None else environ).get(env_name(RulesSettings, "folder"), default)
    try:
        rules = parse_rules(read_folder(folder))
    except (OSError, RulesRefused) as error:
        raise DemoError(f"the rules in {folder} cannot be read, so nothing can say what must fire: {error}") from error
    return sorted((promise for rule in rules if (promise := _promise(rule))), key=lambda promise: promise.rule)


def _promise(rule: Rule) -> Promise | None:
    limits = rule.limits
    if len(rule.whens) > 1 or rule.condition or limits.cooldown_ms or limits.per_customer_per_day:
        return None
    (when,) = rule.whens
    is_first = when.on is On.FIRST_EVENT
    if not (limits.once_per_customer and (is_first or when.on is On.EVENT)):
        return None
    return Promise(rule.name, when.name, is_first)
