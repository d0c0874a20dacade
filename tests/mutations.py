"""Small changes of a syntax tree: where they can be made, and how.  tests/mutants.py runs them.

comparison   < to <=, == to !=, and to or, a negated condition
sign         + to -, * to /, a minus left out
index        an index or the bound of a slice one further
constant     a number one more, true to false
dropped      a statement that is left out
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

COMPARISONS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
SIGNS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mod, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitXor: ast.BitOr, ast.MatMult: ast.Mult,
}  # fmt: skip
KINDS = ("comparison", "sign", "index", "constant", "dropped")


class Site(NamedTuple):
    """A mutant: the place of a node among all nodes of a file, and what is done there."""

    file: str  # within nplm/
    node: int  # its number in the order of ast.walk
    kind: str
    line: int
    name: str  # file, function, the code before and after: the same when lines move


def sites(package: Path, file: str) -> Iterator[Site]:
    """Every mutant of a file."""
    tree = ast.parse((package / file).read_text(encoding="utf-8"))
    functions, passed_over = _functions(tree), _passed_over(tree)
    seen: Counter[str] = Counter()
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in passed_over:
            continue
        for kind in KINDS:
            changed = _changed(copy.deepcopy(node), kind)
            if changed is None:
                continue
            before = _shown(node)
            name = f"{file} {functions.get(id(node), '')}: {before} -> {_shown(changed)}"
            seen[name] += 1
            name += f" #{seen[name]}" if seen[name] > 1 else ""
            yield Site(file, number, kind, getattr(node, "lineno", 0), name)


def mutated(package: Path, site: Site) -> ast.Module:
    """The tree of the file with the mutant in it."""
    tree = ast.parse((package / site.file).read_text(encoding="utf-8"))
    target = next(node for number, node in enumerate(ast.walk(tree)) if number == site.node)
    changed = _changed(copy.deepcopy(target), site.kind)
    assert changed is not None

    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return ast.copy_location(changed, node) if node is target else self.generic_visit(node)

    return ast.fix_missing_locations(Put().visit(tree))


def _changed(node: Any, kind: str) -> ast.AST | None:
    """The node with a change of this kind made in it; None where there is none."""
    if kind == "comparison":
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
            node.ops[0] = COMPARISONS[type(node.ops[0])]()
            return node
        if isinstance(node, ast.BoolOp):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return node
        if isinstance(node, (ast.If, ast.IfExp)):
            node.test = ast.UnaryOp(ast.Not(), node.test)
            return node
    elif kind == "sign":
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in SIGNS:
            node.op = SIGNS[type(node.op)]()
            return node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
            return node.operand
    elif kind == "index":
        return _further(node)
    elif kind == "constant":
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            node.value = not node.value if isinstance(node.value, bool) else node.value + 1
            return node
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.Raise)):
        return ast.Pass()
    return None


def _further(node: Any) -> ast.AST | None:
    """A subscript with its index, or the first bound of its slice, one further."""
    if not isinstance(node, ast.Subscript):
        return None
    inside = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
    if isinstance(inside, ast.Slice):
        bound = "lower" if inside.lower is not None else "upper"
        if (value := getattr(inside, bound)) is None:
            return None
        setattr(inside, bound, _plus_one(value))
    elif isinstance(inside, (ast.Name, ast.BinOp, ast.UnaryOp)):
        if isinstance(node.slice, ast.Tuple):
            node.slice.elts[0] = _plus_one(inside)
        else:
            node.slice = _plus_one(inside)
    else:
        return None
    return node


def _plus_one(value: Any) -> ast.BinOp:
    return ast.BinOp(value, ast.Add(), ast.Constant(1))


def _shown(node: ast.AST) -> str:
    """The code of a node in a line; of an if, its condition."""
    shown = f"if {ast.unparse(node.test)}" if isinstance(node, ast.If) else ast.unparse(node)
    return " ".join(shown.split())[:160]


def _functions(tree: ast.Module) -> dict[int, str]:
    """The function that each node stands in."""
    found: dict[int, str] = {}

    def walk(node: ast.AST, name: str) -> None:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            name = f"{name}.{node.name}".lstrip(".")
        found[id(node)] = name
        for child in ast.iter_child_nodes(node):
            walk(child, name)

    walk(tree, "")
    return found


def _passed_over(tree: ast.Module) -> set[int]:
    """Nodes in docstrings, annotations, decorators and messages, and what type checkers alone read."""
    out: set[int] = set()
    for node in ast.walk(tree):
        parts: list[Any] = [getattr(node, name, None) for name in ("annotation", "returns")]
        parts += getattr(node, "decorator_list", [])
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.append(node)
        if isinstance(node, ast.Raise):
            parts.append(node.exc)
        if isinstance(node, (ast.JoinedStr, ast.AnnAssign)) and getattr(node, "value", None) is None:
            parts.append(node)
        if isinstance(node, ast.JoinedStr):
            parts.append(node)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id[0].isupper():
            parts += [node.value] if "Union" in ast.dump(node.value) or "Callable" in ast.dump(node.value) else []
        for part in parts:
            if part is not None:
                out |= {id(inner) for inner in ast.walk(part)}
    return out
