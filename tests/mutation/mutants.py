"""The changes that tests/mutation makes: one statement deleted, or one condition, operator or number changed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType

FLIPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NEGATING = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)  # their flip is the negation of the condition
NEGATIONS = {f"`{old.__name__}` to `{FLIPS[old].__name__}`" for old in NEGATING}
DELETED = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Raise, ast.Continue, ast.Break, ast.Delete, ast.Assert)


class Mutant:
    """One change: where, what, and the function that makes it in the tree."""

    def __init__(self, statement: ast.stmt, node: ast.AST, in_function: bool, change: str, apply: Callable[[], object]):
        header = statement.body[0].lineno - 1 if isinstance(getattr(statement, "body", None), list) else statement.end_lineno  # type: ignore
        self.lines = range(statement.lineno, max(header or 0, statement.lineno) + 1)
        self.line, self.in_function, self.change, self.apply = node.lineno, in_function, change, apply  # type: ignore
        self.of_line = change == "deleted" or change.endswith(" negated") or change in NEGATIONS


def mutants(tree: ast.Module) -> Iterator[Mutant]:
    """Every mutant of a module, always in the same order."""
    yield from _block(tree, "body", False)


def _block(owner: ast.AST, name: str, inside: bool) -> Iterator[Mutant]:
    block = getattr(owner, name)
    for i, statement in enumerate(block):
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if docstring or isinstance(statement, ast.Import | ast.ImportFrom) or "TYPE_CHECKING" in ast.unparse(getattr(statement, "test", ast.Pass())):
            continue
        if inside and isinstance(statement, DELETED) and getattr(statement, "value", statement) is not None:
            yield Mutant(statement, statement, True, "deleted", lambda b=block, i=i, s=statement: b.__setitem__(i, ast.copy_location(ast.Pass(), s)))
        if isinstance(statement, ast.Raise):
            continue  # messages are not what is tested
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for default in [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]:
                yield from _expression(statement, default, False)
            if statement.name not in ("__repr__", "__str__"):
                yield from _block(statement, "body", True)
            continue
        for field, value in ast.iter_fields(statement):
            if field in ("annotation", "decorator_list"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.ExceptHandler | ast.match_case):
                    yield from _block(child, "body", inside)
                elif isinstance(child, ast.expr | ast.withitem):
                    yield from _expression(statement, child, inside)
            if field in ("body", "orelse", "finalbody"):
                yield from _block(statement, field, inside)
        if isinstance(statement, ast.If | ast.While):
            yield from _negated(statement, statement, "test", inside)


def _negated(statement: ast.stmt, owner: ast.AST, field: str, inside: bool, index: int | None = None) -> Iterator[Mutant]:
    test = getattr(owner, field) if index is None else getattr(owner, field)[index]
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], NEGATING):
        return
    plain = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    changed = test.operand if plain else ast.copy_location(ast.UnaryOp(ast.Not(), test), test)
    change = f"`{ast.unparse(test)}` negated"
    if index is None:
        yield Mutant(statement, test, inside, change, lambda: setattr(owner, field, changed))
    else:
        yield Mutant(statement, test, inside, change, lambda: getattr(owner, field).__setitem__(index, changed))


def _expression(statement: ast.stmt, top: ast.AST, inside: bool) -> Iterator[Mutant]:
    skipped = {id(n) for f in ast.walk(top) if isinstance(f, ast.FormattedValue) and f.format_spec for n in ast.walk(f.format_spec)}
    negative = {id(n.operand) for n in ast.walk(top) if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.USub)}
    for node in ast.walk(top):
        if isinstance(node, ast.Compare):
            for i, op in enumerate(node.ops):
                new = FLIPS[type(op)]
                yield Mutant(statement, node, inside, f"`{type(op).__name__}` to `{new.__name__}`", lambda n=node, i=i, new=new: n.ops.__setitem__(i, new()))
        elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in FLIPS:
            new = FLIPS[type(node.op)]
            yield Mutant(statement, node, inside, f"`{type(node.op).__name__}` to `{new.__name__}`", lambda n=node, new=new: setattr(n, "op", new()))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, bool) and abs(node.value) <= 1000 and id(node) not in skipped:
            new = not node.value if isinstance(node.value, bool) else node.value + (-1 if id(node) in negative else 1)
            yield Mutant(statement, node, inside, f"`{node.value}` to `{new}`", lambda n=node, new=new: setattr(n, "value", new))
        elif isinstance(node, ast.IfExp):
            yield from _negated(statement, node, "test", inside)
        elif isinstance(node, ast.comprehension):
            for i in range(len(node.ifs)):
                yield from _negated(statement, node, "ifs", inside, i)


def mutated(path: Path, number: int) -> CodeType:
    tree = ast.parse(path.read_bytes())
    next(m for i, m in enumerate(mutants(tree)) if i == number).apply()
    return compile(tree, str(path), "exec", dont_inherit=True)


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)
