"""rules: a trigger's id is drawn, not derived."""

import uuid

from tests.chaos.mutants.launch import launch, replace

if __name__ == "__main__":
    replace("services.rules.adapters", "stable_id", lambda derived: lambda *parts: uuid.uuid4().hex)
    launch("services.rules")
