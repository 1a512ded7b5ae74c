"""identity: does not recognise a message that was sent again; each time is another event."""

import os
from collections.abc import Callable
from typing import Any

import msgspec

from services.identity.core.links import Asked
from tests.chaos.mutants.launch import launch, replace


def forgetful(ask: Callable[..., Asked]) -> Callable[..., Asked]:
    """As it was, under a message id that was never there before."""

    def anew(*asked: Any) -> Asked:
        return msgspec.structs.replace(ask(*asked), message=os.urandom(16))

    return anew


if __name__ == "__main__":
    replace("services.identity.handler", "ask", forgetful)
    launch("services.identity")
