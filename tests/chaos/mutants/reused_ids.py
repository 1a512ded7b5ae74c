"""identity: who founds a customer again gets the id of the one it founded before, which has ended in a merge."""

from collections.abc import Callable

from tests.chaos.mutants.launch import launch, replace

RIGHT = "local c = uuid5(id, birth)"
# Not that of a customer who lives: that would break the graph itself, and nobody could go on.
WRONG = "local c = uuid5(id, 0)  if cust[c] then c = uuid5(id, birth) end  gone[c] = nil"


def without_births(script_text: Callable[[str, str], str]) -> Callable[[str, str], str]:
    """resolve.lua without the number of the birth."""

    def changed(package: str, name: str) -> str:
        text = script_text(package, name)
        if name == "resolve.lua":
            assert text.count(RIGHT) == 1, "resolve.lua names its customers in another way now"
            text = text.replace(RIGHT, WRONG)
        return text

    return changed


if __name__ == "__main__":
    replace("services.identity.adapters", "script_text", without_births)
    launch("services.identity")
