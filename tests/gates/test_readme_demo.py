"""The proof that the README shows is the one that `touchstream demo` prints, figures aside."""

import re
from pathlib import Path

import pytest

from cli.demo.promises import read_promises
from cli.demo.reconcile import reconcile
from tests.unit.demo.demo_builders import books, event, facts_of, node

README = Path(__file__).resolve().parents[2] / "README.md"
PASTE = re.compile(r"<!-- demo: paste of `make demo` -->\n(.*?)<!-- /demo -->", re.DOTALL)
# A line goes on below itself, further in.
LINE = re.compile(r"^ ✓ (.*(?:\n {3}\S.*)*)$", re.MULTILINE)
NUMBER = re.compile(r"\d[\d,.]*\d|\d")


def masked(text: str) -> str:
    """The words, with every number as 0."""
    return NUMBER.sub("0", " ".join(text.split()))


def shown(readme: str) -> list[str]:
    """The lines of the proof in the README."""
    paste = PASTE.search(readme)
    assert paste, "the README has no paste of `make demo`"
    return [masked(line) for line in LINE.findall(paste[1])]


def printed() -> list[str]:
    """The lines as the program words them."""
    events = [event("e1", "user_id:a", name="Registered")]
    written = books(*events)
    checks = reconcile(written, written.accounts(), facts_of({"A": events}), node, read_promises({}))
    return [masked(check.text) for check in checks]


def test_the_readme_shows_the_proof_that_the_demo_prints() -> None:
    assert shown(README.read_text()) == printed()


@pytest.mark.parametrize(
    ("truth", "mistake"),
    [("each exactly once", "exactly once each"), (" ✓ ", " "), ("have an outcome", "have an outcome\n   ever begun")],
)
def test_a_proof_of_other_words_is_found(truth: str, mistake: str) -> None:
    text = README.read_text()
    assert truth in text
    assert shown(text.replace(truth, mistake, 1)) != printed()
