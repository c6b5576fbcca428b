"""The pages under docs/ agree with the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from source_rules import Function, Module, modules_below

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "synthians_memory"
# Words that the glossary has another word for: store, engine or the name of the thing itself, repair, export.
OTHER_WORDS = {"dump", "heal", "healer", "healing", "helper", "helpers", "manager", "registry", "repository", "utils"}


def glossary_words() -> list[str]:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    return re.findall(r"^- \*\*(.+?)\*\*: ", text, re.MULTILINE)


def words_of(identifier: str) -> set[str]:
    """The words of a name in snake_case or CamelCase, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)}


def defined_names(module: Module) -> Iterator[tuple[int, str]]:
    """Line and name of everything that `module` names itself; what it merely uses is named by others."""
    for part in module.name.removesuffix(".py").split("/"):
        yield 1, part
    for node in module.nodes:
        if isinstance(node, Function | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def other_words(module: Module) -> list[str]:
    return [
        f"{PACKAGE.name}/{module.name}:{line} {name}"
        for line, name in defined_names(module)
        if words_of(name) & OTHER_WORDS
    ]


def test_glossary_is_sorted_and_names_each_word_once() -> None:
    words = glossary_words()
    assert len(words) > 30
    assert words == sorted(set(words))


def test_identifiers_use_the_words_of_the_glossary() -> None:
    offences = [offence for module in modules_below(PACKAGE) for offence in other_words(module)]
    assert not offences, "\n" + "\n".join(offences)


def test_other_words_are_found() -> None:
    text = "class IndexRegistry: ...\ndef heal_now(): ...\nself.json_dump = 1\ndef f(repository): ...\n"
    assert len(other_words(Module("store_helper.py", text))) == 5


def test_words_inside_words_are_not_found() -> None:
    assert not other_words(Module("context.py", "health = json.dumps(contextmanager)\nself.dumps = orjson.dump"))
