"""The project's own rules of source, each a function from a module to its offences (line, what is wrong)."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PUBLIC_METHODS = 20
FACADES = {"Persistence": 35, "MemoryPersistence": 35}

# The modules that may do what a rule forbids to all others.
DISK_DOORS = {
    "storage/local.py",
    "storage/streams.py",
    "engine/text_files.py",  # SQLite opens by path, and keeps a door of its own
}
NAMES_OF_THE_STORE = {"layout.py"}
SOURCES_OF_TIME_AND_CHANCE = {
    "times.py",  # the machine's clock
    "models.py",  # default factories of new entities
}

EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
EMPTY_CLASS = re.compile(r"(Manager|Helper|Util)s?$")
OS_DISK_CALLS = re.compile(
    r"os\.(fdatasync|fsync|ftruncate|link|makedirs|mkdir|posix_fallocate|pwrite|pwritev|remove|removedirs|rename"
    r"|renames|replace|rmdir|symlink|sync|truncate|unlink|write|writev)|(shutil|tempfile)(\.\w+)*"
)
READING_FLAGS = {"O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_RDONLY"}
PATH_DISK_CALLS = {"touch", "write_bytes", "write_text"}
LAYOUT_WORDS = re.compile(
    r"memory_index\.|(text_index|vector_index)(?![A-Za-z_])"
    r"|memory_vectors|mapping\.json|vectors\.log|\.wal\b|\bstore\.(json|lock)\b"
    r"|\b(memories|assemblies|journal|backups|quarantine)/"
)
TIME_AND_CHANCE = re.compile(
    r"time\.time(_ns)?|(\w+\.)?datetime\.(now|utcnow|today)|(\w+\.)?date\.today|uuid\.uuid[14]|os\.urandom"
    r"|secrets\.\w+|(\w+\.)?random\.(?!(Random|Generator|default_rng)$)\w+"
)
SEEDED = {"Random", "default_rng"}
DENIAL = re.compile(r"\b(no|not|nor|neither|never|none|nothing|without|nobody|nowhere|cannot)\b", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

Offences = Iterator[tuple[int, str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file: its path below the package, and its text."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.nodes if isinstance(node, ast.ClassDef)]

    @cached_property
    def calls(self) -> list[ast.Call]:
        return [node for node in self.nodes if isinstance(node, ast.Call)]

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Line and dotted name of everything imported."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        return found

    @cached_property
    def uses(self) -> list[tuple[int, str]]:
        """Line and dotted name of everything imported, and of everything reached through an imported name."""
        dotted = [(node.lineno, ast.unparse(node)) for node in self.nodes if isinstance(node, ast.Attribute)]
        imported = _imported_names(node for node in self.nodes if isinstance(node, ast.Import | ast.ImportFrom))
        return [*self.imports, *((line, name) for line, name in dotted if name.split(".")[0] in imported)]


def _imported_names(statements: Iterable[ast.Import | ast.ImportFrom]) -> set[str]:
    """The names that `statements` bind."""
    return {alias.asname or alias.name.split(".")[0] for statement in statements for alias in statement.names}


def modules_below(package: Path) -> list[Module]:
    """The modules written by hand below `package`, in the order of their names."""
    paths = [path for path in sorted(package.rglob("*.py")) if not path.stem.endswith(("_pb2", "_pb2_grpc"))]
    return [Module(path.relative_to(package).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def lines_of(function: Function) -> int:
    """Lines from def to the end, docstring included."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def module_is_short(module: Module) -> Offences:
    count = len(module.text.splitlines())
    if count > MAX_MODULE_LINES:
        yield 1, f"{count} lines, over {MAX_MODULE_LINES}"


def functions_are_short(module: Module) -> Offences:
    for function in module.functions:
        if lines_of(function) > MAX_FUNCTION_LINES:
            yield function.lineno, f"{function.name} has {lines_of(function)} lines, over {MAX_FUNCTION_LINES}"


def _is_public_method(part: ast.stmt) -> bool:
    """Whether `part` is one that callers use; Hypothesis alone calls the rules of a state machine."""
    if not isinstance(part, Function) or part.name.startswith("_"):
        return False
    return not any(ast.unparse(decorator).startswith(("rule(", "invariant(")) for decorator in part.decorator_list)


def classes_are_narrow(module: Module) -> Offences:
    for node in module.classes:
        public = {part.name for part in node.body if isinstance(part, Function) and _is_public_method(part)}
        limit = FACADES.get(node.name, MAX_PUBLIC_METHODS)
        if len(public) > limit:
            yield node.lineno, f"{node.name} has {len(public)} public methods, over {limit}"


def names_say_something(module: Module) -> Offences:
    for part in module.name.removesuffix(".py").split("/"):
        if part.strip("_") in EMPTY_NAMES:
            yield 1, f"a module called {part} says nothing"
    for node in module.classes:
        if EMPTY_CLASS.search(node.name):
            yield node.lineno, f"a class called {node.name} says nothing"


def imports_stand_at_the_top(module: Module) -> Offences:
    for function in module.functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node.lineno, f"import inside {function.name}"


def imports_are_named(module: Module) -> Offences:
    for line, name in module.imports:
        if name.endswith(".*"):
            yield line, f"star import {name}"


def annotations_are_postponed(module: Module) -> Offences:
    if module.imports and "__future__.annotations" not in {name for _, name in module.imports}:
        yield 1, "from __future__ import annotations is missing"


def _is_broad(expression: ast.expr | None) -> bool:
    parts = expression.elts if isinstance(expression, ast.Tuple) else [expression]
    return any(isinstance(part, ast.Name) and part.id in {"Exception", "BaseException"} for part in parts)


def _does_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass | ast.Continue)


def errors_are_not_swallowed(module: Module) -> Offences:
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except"
        elif isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and all(map(_does_nothing, node.body)):
            yield node.lineno, "every error is swallowed"
    for call in module.calls:
        if ast.unparse(call.func).split(".")[-1] == "suppress" and any(map(_is_broad, call.args)):
            yield call.lineno, "every error is suppressed"


def _constants(module: Module) -> dict[str, ast.expr]:
    """The module's top-level names and what is assigned to each."""
    assigned = [node for node in module.tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and node.value]
    targets = ((target, node.value) for node in assigned for target in getattr(node, "targets", None) or [node.target])
    return {ast.unparse(target): value for target, value in targets}


def _opens_for_writing(call: ast.Call, constants: dict[str, ast.expr]) -> bool:
    """Whether `call` opens a file for writing, or with flags or a mode that cannot be read off the module's text."""
    function = ast.unparse(call.func)
    if function == "os.open":
        given = ast.unparse(call.args[1])
        flags = set(re.findall(r"\bO_\w+", ast.unparse(constants.get(given, call.args[1]))))
        return not flags or not flags <= READING_FLAGS
    if function not in {"open", "io.open"}:
        return False
    modes = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return any(not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+")) for mode in modes)


def disk_has_one_door(module: Module) -> Offences:
    if module.name in DISK_DOORS:
        return
    for line, name in module.uses:
        if OS_DISK_CALLS.fullmatch(name):
            yield line, f"{name} outside {', '.join(sorted(DISK_DOORS))}"
    constants = _constants(module)
    for call in module.calls:
        method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if method in PATH_DISK_CALLS or _opens_for_writing(call, constants):
            yield call.lineno, f"{ast.unparse(call.func)} writes outside {', '.join(sorted(DISK_DOORS))}"


def _names_no_path(node: ast.AST) -> bool:
    """Whether `node` is a docstring or the list of exported names."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def names_of_the_store_stand_in_layout(module: Module) -> Offences:
    if module.name in NAMES_OF_THE_STORE:
        return
    apart = {id(part) for node in module.nodes if _names_no_path(node) for part in ast.walk(node)}
    for node in module.nodes:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in apart:
            continue
        if found := LAYOUT_WORDS.search(node.value):
            yield node.lineno, f"{found[0]!r} is a name of the store; take it from layout.py"


def docstring_says_what_it_is_and_is_not(module: Module) -> Offences:
    lines = [line for line in (ast.get_docstring(module.tree) or "").splitlines() if line.strip()]
    if len(lines) < 2:
        yield 1, "the docstring needs two lines: what it is, what it is not"
    elif not DENIAL.search(" ".join(lines[1:])):
        yield 1, "the docstring does not say what the module is not"


def _bound_names(module: Module) -> set[str]:
    names: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= _imported_names([node])
        else:
            names.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return names


def _constants_classes_functions(name: str) -> tuple[int, str]:
    """The order of isort and of ruff's RUF022."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


def exports_are_sorted_and_exist(module: Module) -> Offences:
    lists = [node for node in module.tree.body if isinstance(node, ast.Assign) and _names_no_path(node)]
    for node in lists:
        exported = list(ast.literal_eval(node.value))
        if exported != sorted(set(exported), key=_constants_classes_functions):
            yield node.lineno, "__all__ is not sorted, or names something twice"
        for name in sorted(set(exported) - _bound_names(module)):
            yield node.lineno, f"__all__ names {name}, which does not exist"
    if not lists and any(not getattr(node, "name", "_").startswith("_") for node in module.tree.body):
        yield 1, "__all__ is missing"


def nothing_is_left_for_later(module: Module) -> Offences:
    for number, line in enumerate(module.text.splitlines(), 1):
        if UNFINISHED.search(line):
            yield number, line.strip()


def identifiers_are_ascii(module: Module) -> Offences:
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.NAME and not token.string.isascii():
            yield token.start[0], f"identifier {token.string} is not ASCII"


def time_and_chance_are_injected(module: Module) -> Offences:
    if module.name in SOURCES_OF_TIME_AND_CHANCE:
        return
    for line, name in module.uses:
        if TIME_AND_CHANCE.fullmatch(name):
            yield line, f"{name} outside {', '.join(sorted(SOURCES_OF_TIME_AND_CHANCE))}"
    for call in module.calls:
        if ast.unparse(call.func).split(".")[-1] in SEEDED and not call.args and not call.keywords:
            yield call.lineno, f"{ast.unparse(call.func)} without a seed"
