# SPDX-License-Identifier: Apache-2.0
"""Find the checks of a module in its syntax tree, and the ways to take each one away.

A mutant replaces one node: a refusal's condition, or one operand of it, becomes the answer that lets pass (`weaker`)
or one operand of a conjunction falls away (`stricter`); a ``raise``, a ``yield`` or a call of a checking function
disappears; a rule leaves the list of rules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: Where a function's own statements end.
SCOPES = (*FUNCTIONS, ast.Lambda, ast.ClassDef)

#: Methods whose call takes what it answers away.
TAKING = {"pop", "popleft", "popitem", "take", "string", "read"}


@dataclass(frozen=True)
class Change:
    """Node ``old`` stands at ``parent.field`` (``[index]`` in a list) and becomes ``new``."""

    parent: ast.AST
    field: str
    index: int | None
    old: ast.AST
    new: ast.AST

    def make(self) -> None:
        self._put(self.new)

    def undo(self) -> None:
        self._put(self.old)

    def _put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True)
class Mutant:
    """``function``: qualified name, with its first line in ``function_line``; ``reached``: lines that a test must run
    to notice, one of which is enough; ``rule``: position in ``RULES`` for a rule that is left out.
    """

    module: str
    function: str
    function_line: int
    line: int
    text: str
    reached: frozenset[int]
    change: Change | None = field(default=None, compare=False)
    rule: int | None = None

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.function} | {self.text}"


def find(module: str, tree: ast.Module, *, checking: frozenset[str]) -> list[Mutant]:
    """Every mutant of a module. ``checking``: names of functions that raise, whose calls are checks of their own."""
    finder = _Finder(module, checking)
    for node in tree.body:
        finder.top(node, "")
    return finder.unique()


def raising_functions(tree: ast.Module) -> set[str]:
    """Names of functions and methods that raise by themselves."""
    defined = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    return {node.name for node in defined if any(isinstance(n, ast.Raise) for n in ast.walk(node))}


@dataclass
class _Finder:
    module: str
    checking: frozenset[str]
    found: list[Mutant] = field(default_factory=list)
    function: str = ""
    function_line: int = 0
    wording: bool = False
    #: An asynchronous generator: it yields a resource, not a reason.
    waits: bool = False

    def unique(self) -> list[Mutant]:
        seen: dict[tuple[Any, ...], Mutant] = {}
        for one in self.found:
            seen.setdefault((one.function, one.line, one.text), one)
        return list(seen.values())

    def top(self, node: ast.AST, prefix: str) -> None:
        """Classes and outermost functions; what is nested in a function counts as part of it."""
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                self.top(child, f"{prefix}{node.name}.")
        elif isinstance(node, FUNCTIONS):
            self.function, self.waits = prefix + node.name, isinstance(node, ast.AsyncFunctionDef)
            self.function_line = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            self._visit(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Tuple):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "RULES" for target in targets):
                for index, rule in enumerate(node.value.elts):
                    text = f"without rule {ast.unparse(rule)}"
                    self.found.append(
                        Mutant(self.module, "RULES", node.lineno, rule.lineno, text, frozenset(), rule=index)
                    )

    def _add(self, change: Change, text: str, reached: set[int]) -> None:
        line = getattr(change.old, "lineno", 0)
        row = Mutant(self.module, self.function, self.function_line, line, text, frozenset(reached), change)
        self.found.append(row)

    def _visit(self, node: ast.AST) -> None:
        before = self.wording
        for name, index, child in _children(node):
            place = (node, name, index)
            # What is computed on the way to a refusal goes into its words.
            self.wording = before or (isinstance(node, ast.If) and name == "body" and _ends_in_refusal(node.body))
            match child:
                case ast.If():
                    self._if(child)
                case ast.Raise() if not _is_conditional(node, name) and not _is_impossible(child):
                    self._add(Change(*place, child, _at(ast.Pass(), child)), f"no {_short(child)}", _lines(child))
                case ast.Expr(value=ast.Yield() | ast.YieldFrom()) if (
                    not _is_conditional(node, name) and not self.waits
                ):
                    nothing = _at(ast.Expr(ast.YieldFrom(ast.Tuple([], ast.Load()))), child)
                    self._add(Change(*place, child, nothing), f"no {_short(child)}", _lines(child))
                case ast.Expr(value=ast.Call() | ast.Await() as call) if _callee(call) in self.checking:
                    self._add(Change(*place, child, _at(ast.Pass(), child)), f"no {_short(child)}", _lines(child))
                case ast.comprehension() if not self.wording:
                    for position, test in enumerate(child.ifs):
                        self._both((child, "ifs", position), test)
                case ast.Return(value=ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()) as value):
                    self._both((child, "value", None), value)
                case ast.Assign(value=ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()) as answer) if (
                    not self.wording
                ):
                    self._both((child, "value", None), answer)
                case ast.Return(value=ast.IfExp() as choice) | ast.Assign(value=ast.IfExp() as choice):
                    if not self.wording and not any(_is_text(branch) for branch in (choice.body, choice.orelse)):
                        self._both((choice, "test", None), choice.test)
                case ast.Dict():
                    for position, right in enumerate(child.values):
                        if isinstance(right, (ast.BoolOp, ast.Compare)):
                            self._both((child, "values", position), right)
            self._visit(child)
        self.wording = before

    def _if(self, node: ast.If) -> None:
        place = (node, "test", None)
        if _refuses(node.body):
            self._weaken(place, node.test, wanted=False, reached=_body_lines(node.body), here=_lines(node.test))
        elif _refuses(node.orelse):
            self._weaken(place, node.test, wanted=True, reached=_body_lines(node.orelse), here=_lines(node.test))
        elif isinstance(node.body[-1], ast.Continue) or (
            isinstance(node.body[-1], ast.Return) and node.body[-1].value is None
        ):
            here = _lines(node.test)
            self._weaken(place, node.test, wanted=True, reached=here, here=here)

    def _both(self, place: tuple[ast.AST, str, int | None], test: ast.expr) -> None:
        here = _lines(test)
        for wanted in (True, False):
            self._weaken(place, test, wanted=wanted, reached=here, here=here)

    def _weaken(
        self,
        place: tuple[ast.AST, str, int | None],
        test: ast.expr,
        *,
        wanted: bool,
        reached: set[int],
        here: set[int],
    ) -> None:
        """Make ``test``, and each part of it, answer ``wanted`` more often. ``here``: lines of the whole condition."""
        for change, stricter in _changes(place, test, wanted):
            text = f"{_short(change.old)} -> {_short(change.new)}"
            self._add(_still_taking(change), text, here if stricter else reached)


def _still_taking(change: Change) -> Change:
    """A condition that also takes something away (a read, a pop) goes on doing so: only its answer changes."""
    old, new = change.old, change.new
    takes = any(isinstance(n, ast.Attribute) and n.attr in TAKING for n in ast.walk(old))
    if not takes or not isinstance(new, ast.Constant):
        return change
    both = ast.BoolOp(ast.Or() if new.value else ast.And(), [cast(ast.expr, old), new])
    return Change(change.parent, change.field, change.index, old, _at(both, old))


def _changes(place: tuple[ast.AST, str, int | None], test: ast.expr, wanted: bool) -> Iterator[tuple[Change, bool]]:
    """(change, whether it makes the test answer ``wanted`` less often)."""
    whole = Change(*place, test, _at(ast.Constant(wanted), test))
    match test:
        case ast.BoolOp():
            each_is_enough = isinstance(test.op, ast.Or) == wanted
            if each_is_enough:
                yield whole, False
            for index, operand in enumerate(test.values):
                if isinstance(operand, ast.Constant):  # a default, as in ``name or ""``
                    continue
                inner = (test, "values", index)
                if not each_is_enough:
                    yield from _changes(inner, operand, wanted)
                    continue
                yield Change(*inner, operand, _at(ast.Constant(not wanted), operand)), True
                yield from ((c, s) for c, s in _changes(inner, operand, wanted) if c.old is not operand)
        case ast.UnaryOp(op=ast.Not()):
            yield from _changes((test, "operand", None), test.operand, not wanted)
        case ast.Compare() if len(test.ops) > 1:
            yield whole, False
            terms = [test.left, *test.comparators]
            for index in range(len(test.ops)):
                rest = [
                    ast.Compare(terms[i], [other], [terms[i + 1]]) for i, other in enumerate(test.ops) if i != index
                ]
                fewer: ast.expr = rest[0] if len(rest) == 1 else ast.BoolOp(ast.And(), list(rest))
                yield Change(*place, test, _at(fewer, test)), not wanted
        case ast.Compare(left=ast.Tuple() as left, comparators=[ast.Tuple() as right]) if len(left.elts) == len(
            right.elts
        ):
            yield whole, False
            for index in range(len(left.elts)):
                kept = [_without(side, index) for side in (left, right)]
                yield Change(*place, test, _at(ast.Compare(kept[0], test.ops, [kept[1]]), test)), False
        case ast.Call(func=ast.Name(id="any" | "all"), args=[ast.GeneratorExp() as rows]):
            yield whole, False
            if isinstance(rows.elt, (ast.BoolOp, ast.UnaryOp)):
                yield from _changes((rows, "elt", None), rows.elt, wanted)
        case ast.Constant():
            return
        case _:
            yield whole, False


def _without(side: ast.Tuple, index: int) -> ast.Tuple:
    return ast.Tuple([element for i, element in enumerate(side.elts) if i != index], ast.Load())


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield name, None, value
        elif isinstance(value, list):
            yield from ((name, i, child) for i, child in enumerate(value) if isinstance(child, ast.AST))


def _own(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Nodes of statements without those of functions within."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, SCOPES):
            waiting.extend(ast.iter_child_nodes(node))


def _refuses(body: list[ast.stmt]) -> bool:
    return any(isinstance(node, (ast.Raise, ast.Yield, ast.YieldFrom)) for node in _own(body))


def _ends_in_refusal(body: list[ast.stmt]) -> bool:
    last = body[-1]
    return isinstance(last, ast.Raise) or (isinstance(last, ast.Expr) and isinstance(last.value, ast.Yield))


def _is_conditional(parent: ast.AST, name: str) -> bool:
    """Statements under an ``if`` whose condition is a mutant already."""
    return isinstance(parent, ast.If) and name in ("body", "orelse")


def _is_impossible(node: ast.Raise) -> bool:
    """Only ``raise`` alone hands an error on."""
    return node.exc is None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _callee(node: ast.expr) -> str:
    if isinstance(node, ast.Await):
        return _callee(node.value)
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _lines(node: ast.AST) -> set[int]:
    return set(range(node.lineno, node.end_lineno + 1))  # type: ignore[attr-defined]


def _body_lines(body: list[ast.stmt]) -> set[int]:
    return set().union(*map(_lines, body))


def _at(new: Any, old: ast.AST) -> Any:
    return ast.fix_missing_locations(ast.copy_location(new, old))


def _short(node: ast.AST) -> str:
    """One line that names the change; the list of equivalent mutants repeats it."""
    return " ".join(ast.unparse(node).split())
