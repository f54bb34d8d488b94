"""What the READMEs tell a reader to type exists, and so does every file they point to."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from loglore.cli import app

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "README.ja.md", "CONTRIBUTING.md")


def commands(page: str) -> Iterator[list[str]]:
    """The words after `loglore` of every command in code blocks and code spans; `a|b` as one command each."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    for code in [*lines, *re.findall(r"`(loglore [^`\n]+)`", text)]:
        if not code.startswith("loglore "):
            continue
        words = re.sub(r"\s+#.*|'[^']*'|\"[^\"]*\"|…", "", code).split()[1:]
        choices = [word.replace("\\", "").split("|") for word in words]
        for place, choice in enumerate(choices):
            if len(choice) > 1:
                yield from ([*words[:place], one, *words[place + 1 :]] for one in choice)
                break
        else:
            yield words


@pytest.mark.parametrize("page", PAGES[:2])
def test_every_command_and_option_exists(page: str) -> None:
    found = list(commands(page))
    assert len(found) > 15
    for words in found:
        command = get_command(app)
        rest = list(words)
        while isinstance(command, TyperGroup) and rest:
            assert rest[0] in command.commands, f"{page}: loglore {' '.join(words)}: no verb {rest[0]!r}"
            command = command.commands[rest.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in rest if word.startswith("-") and len(word) > 1}
        assert used <= known, f"{page}: loglore {' '.join(words)}: no option {used - known}"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_linked_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    for link in links:
        assert "://" in link or (ROOT / link).exists(), f"{page}: {link}"


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        asked = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
        assert asked <= targets, page
