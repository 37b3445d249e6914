"""The documents of the project as text, and the commands that they tell people to type."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_SEPARATORS = ";&|()<>\n"


@dataclass(frozen=True)
class Typed:
    """One simple command of a document's shell blocks."""

    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.words)}"


def shell_blocks(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[tuple[str, ...]]:
    """The simple commands of a shell block, also those in `$(...)`; function definitions and scripts are left out."""
    if block.startswith("#!"):
        return []
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in block.replace("\\\n", " ").splitlines()]
    text = "\n".join(line for line in lines if not re.match(r"\w+\(\)", line))
    quoted = re.findall(r'"\$\(([^)]*)\)"', text)
    lexer = shlex.shlex("\n".join([text, *quoted]), posix=True, punctuation_chars=_SEPARATORS)
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    lexer.commenters = ""
    found, words = [], list[str]()
    for word in [*lexer, "\n"]:
        if word.strip(_SEPARATORS):
            words.append(word)
        elif words:
            found.append(tuple(words))
            words = []
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "typed" in metafunc.fixturenames:
        found = [
            Typed(path.name, words)
            for path in DOCUMENTS
            for block in shell_blocks(path.read_text(encoding="utf-8"))
            for words in commands(block)
        ]
        metafunc.parametrize("typed", dict.fromkeys(found), ids=str)
    if "document" in metafunc.fixturenames:
        metafunc.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.fixture
def all_typed() -> list[tuple[str, ...]]:
    """All commands of the README."""
    blocks = shell_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    return [words for block in blocks for words in commands(block)]
