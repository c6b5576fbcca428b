"""Which exchanges are worth remembering, how much they weigh, and what they are about: rules over whole words.

It stores nothing, and understands nothing: a text matches where a word or phrase of a rule stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from synthians_memory.errors import InvalidTypeError, InvalidValueError

__all__ = ["DEFAULT_RULES", "DEFAULT_TAGS", "CaptureRules", "Rule", "Significance", "rule_document", "rules_from"]


def _require_words(whose: str, words: object) -> None:
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise InvalidTypeError(f"the words of {whose} must be a list, not {words!r}")
    if not all(isinstance(word, str) and word.strip() for word in words):
        raise InvalidValueError(f"{whose} has a word that is empty or no string: {list(words)!r}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of exchange that is worth remembering.

    Attributes:
        name: what it is called.
        words: words and phrases, any one of which is enough; whole, in any case, with any space in a phrase.
        importance: 0 to 1.
        patterns: regular expressions that do the same.
    """

    name: str
    words: tuple[str, ...]
    importance: float
    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_words(f"the rule {self.name!r}", self.words)
        for pattern in self.patterns:
            if not isinstance(pattern, str):
                raise InvalidTypeError(f"the rule {self.name!r} has a pattern that is no string: {pattern!r}")
            try:
                re.compile(pattern)
            except re.error as error:
                raise InvalidValueError(
                    f"the rule {self.name!r} has no regular expression in {pattern!r}: {error}"
                ) from error
        importance: object = self.importance
        if isinstance(importance, bool) or not isinstance(importance, int | float) or not 0 <= importance <= 1:
            raise InvalidValueError(f"the rule {self.name!r} has the importance {importance!r}; it must lie in 0..1")


DEFAULT_RULES: Final = (
    Rule(
        "approval", ("approve", "approved", "approves", "approval", "lgtm", "signed off", "sign off", "go ahead"), 0.95
    ),
    Rule(
        "decision",
        (
            *("decide", "decided", "decides", "decision", "decisions", "agreed", "agree on", "resolved to"),
            *("we will use", "we'll use", "we chose", "we choose", "settled on", "rejected", "go with", "going with"),
        ),
        0.85,
    ),
    Rule(
        "rfc",
        ("rfc", "rfcs", "request for comments", "design proposal", "adr"),
        0.85,
        (r"(?i)(?<!\w)rfc[- ]?\d+(?!\w)",),
    ),
    Rule(
        "bug",
        (
            *("bug", "bugs", "bugfix", "regression", "crash", "crashed", "crashes", "crashing", "defect", "broken"),
            *(
                "traceback",
                "segfault",
                "deadlock",
                "race condition",
                "memory leak",
                "root cause",
                "hotfix",
                "data loss",
            ),
        ),
        0.85,
    ),
    Rule(
        "release",
        ("release", "released", "releases", "deploy", "deployed", "deployment", "rollback", "rolled back", "changelog"),
        0.85,
        (r"(?i)(?<!\w)v\d+\.\d+(\.\d+)?(?!\w)",),
    ),
    Rule(
        "benchmark", ("benchmark", "benchmarks", "benchmarked", "latency", "throughput", "speedup", "p50", "p99"), 0.7
    ),
    Rule("build", ("build", "builds", "built", "compile", "compiles", "compiled", "pipeline", "ci", "linker"), 0.7),
    Rule("test", ("test", "tests", "tested", "unit test", "integration test", "coverage", "flaky", "test suite"), 0.7),
    Rule("docs", ("docs", "documentation", "documented", "readme", "tutorial", "docstring"), 0.7),
    Rule(
        "code",
        (
            *(
                "refactor",
                "refactored",
                "refactoring",
                "implement",
                "implemented",
                "implementation",
                "commit",
                "committed",
            ),
            *("merge", "merged", "pull request", "function", "class", "module", "library", "dependency", "migration"),
        ),
        0.6,
        (r"```",),
    ),
)

DEFAULT_TAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "rfc": ("rfc", "rfcs", "request for comments"),
    "rust": ("rust", "cargo", "rustc", "clippy", "crate", "crates"),
    "github": ("github", "pull request", "pull requests", "gh"),
    "bug": ("bug", "bugs", "bugfix", "defect", "regression", "crash", "crashed"),
    "feature": ("feature", "features", "enhancement", "user story"),
    "performance": (
        *("performance", "latency", "throughput", "benchmark", "benchmarks", "speedup", "slow", "faster"),
        *("profiling", "profiler"),
    ),
}


@dataclass(frozen=True, slots=True)
class Significance:
    """What the rules say of a text.

    Attributes:
        rules: names of those that match, in their order; none: not worth remembering.
        importance: the highest of theirs; 0 without one.
        tags: in the order of the table.
    """

    rules: tuple[str, ...]
    importance: float
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaptureRules:
    """What is worth remembering, and how it is tagged. Immutable; safe from any thread.

    Attributes:
        rules: in the order in which they are named.
        tags: tag -> words, any one of which gives it. Names of people belong here where they are wanted.
    """

    rules: Sequence[Rule] = DEFAULT_RULES
    tags: Mapping[str, Sequence[str]] = field(default_factory=lambda: DEFAULT_TAGS)

    def __post_init__(self) -> None:
        for tag, words in self.tags.items():
            _require_words(f"the tag {tag!r}", words)

    def judge(self, text: str) -> Significance:
        """What the rules say of `text`; the same for the same text."""
        matched = [rule for rule in self.rules if _holds(tuple(rule.words), rule.patterns, text)]
        tags = tuple(tag for tag, words in self.tags.items() if _holds(tuple(words), (), text))
        importance = max((rule.importance for rule in matched), default=0.0)
        return Significance(tuple(rule.name for rule in matched), importance, tags)


def rules_from(document: Mapping[str, Any]) -> CaptureRules:
    """The rules that a configuration describes; what it leaves out is as by default.

    Args:
        document: `rules`, a list of objects with `name`, `words`, `importance` and `patterns`; `tags`, an object of lists
            of words. A tag with an empty list is taken out of the default table, others are added to it.

    Raises:
        InvalidValueError, InvalidTypeError: what is wrong, by its name.
    """
    unknown = sorted(set(document) - {"rules", "tags"})
    if unknown:
        raise InvalidValueError(
            f"unknown setting of capture: {', '.join(map(repr, unknown))}", hint="There are rules and tags."
        )
    given, tables = document.get("rules", ()), document.get("tags", {})
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidTypeError(f"the rules of capture must be a list, not {given!r}")
    if not isinstance(tables, Mapping):
        raise InvalidTypeError(f"the tags of capture must be an object, not {tables!r}")
    rules = DEFAULT_RULES if "rules" not in document else tuple(_rule_from(entry) for entry in given)
    tags = {**DEFAULT_TAGS, **tables}
    return CaptureRules(rules, {tag: _listed(tag, words) for tag, words in tags.items() if words})


def rule_document(rule: Rule) -> dict[str, Any]:
    """`rule` as a configuration describes it."""
    document = {"name": rule.name, "words": list(rule.words), "importance": rule.importance}
    return {**document, "patterns": list(rule.patterns)} if rule.patterns else document


def _rule_from(entry: Any) -> Rule:
    if not isinstance(entry, Mapping) or not {"name", "words", "importance"} <= set(entry):
        raise InvalidTypeError(f"a rule of capture is {entry!r}", hint="Give it a name, words and an importance.")
    name = str(entry["name"])
    unknown = sorted(map(str, set(entry) - {"name", "words", "importance", "patterns"}))
    if unknown:
        hint = "A rule has name, words, importance and patterns."
        raise InvalidValueError(f"the rule {name!r} of capture has the unknown {', '.join(unknown)}", hint=hint)
    words, patterns = (_listed(name, entry.get(member, ())) for member in ("words", "patterns"))
    return Rule(name, words, entry["importance"], patterns)


def _listed(whose: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return tuple(value)
    raise InvalidTypeError(f"{whose!r} of capture must have lists, not {value!r}")


def _holds(words: tuple[str, ...], patterns: Iterable[str], text: str) -> bool:
    return (bool(words) and _any_of(words).search(text) is not None) or any(re.search(p, text) for p in patterns)


@lru_cache(maxsize=1024)
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """One of `words`, whole: "bug" does not stand in "debugging"."""
    phrases = (r"\s+".join(map(re.escape, word.split())) for word in words)
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)
