"""Conditions that people write: `width > 500 and name in ("car", "bus") and not truncated`.

The text is parsed by Python's own parser and each node that is allowed becomes a polars
expression. Nothing is evaluated as Python: what is not in the list here is an error.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import polars as pl

from whatwhere.errors import UsageError

Kind = Literal["number", "text", "bool", "none"]
Table = Literal["image", "label"]

MOST_CHARACTERS = 4000
_DEEPEST = 60
# Whole numbers up to here are exact in float64, in which everything is computed.
_LARGEST = 2**53


@dataclass(frozen=True, slots=True)
class Column:
    """A name that a condition may use.

    Args:
        kind: what its values are.
        table: "image" if every label of a picture has the same value.
        values: the only texts that make sense, if they are known: the class names.
    """

    kind: Kind
    table: Table
    values: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, or a part of one.

    Args:
        expr: boolean; null where it depends on something that is not known.
        tables: whose columns it uses.
    """

    expr: pl.Expr
    tables: frozenset[Table]


@dataclass(frozen=True, slots=True)
class _Part:
    expr: pl.Expr
    kind: Kind
    tables: frozenset[Table]
    column: str | None = None
    value: str | float | bool | None = None
    constant: bool = False


def parse(text: str, columns: Mapping[str, Column]) -> list[Condition]:
    """The conditions of a text that are joined by `and` at its outermost level.

    Allowed: names of columns, numbers, texts, True, False, None; + - * / // %; comparisons,
    also chained; `in` and `not in` a list; `is None` and `is not None`; and, or, not;
    abs, min, max; and `text.startswith`, `.endswith`, `.contains` and `.lower`.

    A value that is not known makes what depends on it unknown, as in SQL; a flag that is not
    known is false.

    Raises:
        UsageError: something else, with its position, counted from 1.
    """
    return _Parser(text, columns).conditions()


class _Parser:
    def __init__(self, text: str, columns: Mapping[str, Column]) -> None:
        self.text, self.columns = text, columns

    def conditions(self) -> list[Condition]:
        if len(self.text) > MOST_CHARACTERS:
            raise UsageError(f"the expression is longer than {MOST_CHARACTERS} characters")
        text = self.text.strip()
        if not text:
            raise UsageError("the expression is empty: write a condition such as  width > 500")
        if "\n" in text or "\r" in text:
            raise UsageError("the expression has more than one line: write it in one")
        self.text = text
        try:
            with warnings.catch_warnings():
                # "5in (1, 2)" and the like: we say ourselves what is wrong.
                warnings.simplefilter("ignore")
                tree = ast.parse(text, mode="eval")
        except SyntaxError as error:
            # Brackets that do not match are said at offsets beyond the text, too.
            place = min(max(error.offset or 1, 1), len(text) + 1)
            raise UsageError(
                f"the expression {text!r} cannot be understood at character {place}: {error.msg}"
            ) from None
        except (ValueError, RecursionError, MemoryError):
            raise UsageError(f"the expression {text[:60]!r} cannot be understood") from None
        top = tree.body
        if isinstance(top, ast.BoolOp) and isinstance(top.op, ast.And):
            parts = [self._bool(value, 1) for value in top.values]
        else:
            parts = [self._bool(top, 1)]
        return [Condition(part.expr, part.tables) for part in parts]

    def _error(self, node: ast.AST, message: str) -> UsageError:
        # Offsets of the parser count bytes of UTF-8.
        before = self.text.encode()[: getattr(node, "col_offset", 0)].decode("utf-8", "ignore")
        return UsageError(f"in the expression, character {len(before) + 1}: {message}")

    def _part(self, node: ast.AST, depth: int) -> _Part:
        if depth > _DEEPEST:
            raise self._error(node, "too many brackets inside each other: write it more simply")
        for kind, method in self._KINDS.items():
            if isinstance(node, kind):
                return method(self, node, depth + 1)
        what = {ast.Lambda: "lambda", ast.ListComp: "a loop", ast.Subscript: "[...]"}
        what |= {ast.Tuple: "a list outside of 'in'", ast.List: "a list outside of 'in'"}
        what |= {ast.Attribute: "a dot", ast.IfExp: "if", ast.NamedExpr: ":="}
        raise self._error(node, f"{what.get(type(node), type(node).__name__)} is not allowed here")

    def _bool(self, node: ast.AST, depth: int) -> _Part:
        part = self._part(node, depth)
        if part.kind != "bool":
            raise self._error(node, f"a condition is needed here, not a {part.kind}")
        return part

    def _number(self, node: ast.AST, depth: int) -> _Part:
        part = self._part(node, depth)
        if part.kind != "number":
            raise self._error(node, f"a number is needed here, not a {part.kind}")
        return part

    def _name(self, node: ast.Name, _: int) -> _Part:
        column = self.columns.get(node.id)
        if column is None:
            near = " or ".join(get_close_matches(node.id, self.columns, 3))
            hint = f"did you mean {near}?" if near else f"there are {', '.join(self.columns)}"
            raise self._error(node, f"unknown column {node.id!r}: {hint}")
        expr = pl.col(node.id)
        if column.kind == "bool":
            expr = expr.fill_null(False)
        elif column.kind == "number":
            expr = expr.cast(pl.Float64)
        return _Part(expr, column.kind, frozenset({column.table}), column=node.id)

    def _constant(self, node: ast.Constant, _: int) -> _Part:
        value = node.value
        none: frozenset[Table] = frozenset()
        if isinstance(value, bool):
            return _Part(pl.lit(value), "bool", none, value=value, constant=True)
        if isinstance(value, int | float):
            if not abs(value) <= _LARGEST:
                raise self._error(node, "the number is too large")
            return _Part(pl.lit(float(value)), "number", none, value=value, constant=True)
        if isinstance(value, str):
            return _Part(pl.lit(value), "text", none, value=value, constant=True)
        if value is None:
            return _Part(pl.lit(None), "none", none, constant=True)
        raise self._error(node, f"{value!r} is not a number or a text")

    def _boolop(self, node: ast.BoolOp, depth: int) -> _Part:
        parts = [self._bool(value, depth) for value in node.values]
        expr = parts[0].expr
        for part in parts[1:]:
            expr = (expr & part.expr) if isinstance(node.op, ast.And) else (expr | part.expr)
        return _Part(expr, "bool", _tables(parts))

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Part:
        if isinstance(node.op, ast.Not):
            part = self._bool(node.operand, depth)
            return _Part(~part.expr, "bool", part.tables)
        if isinstance(node.op, ast.USub | ast.UAdd):
            part = self._number(node.operand, depth)
            if isinstance(node.op, ast.UAdd):
                return part
            value = -part.value if isinstance(part.value, int | float) else None
            return _Part(-part.expr, "number", part.tables, value=value, constant=part.constant)
        raise self._error(node, "~ is not allowed: write  not")

    def _binop(self, node: ast.BinOp, depth: int) -> _Part:
        method = _ARITHMETIC.get(type(node.op))
        if method is None:
            if isinstance(node.op, ast.BitAnd | ast.BitOr):
                raise self._error(node, "& and | are not allowed: write  and  or  or")
            raise self._error(node, "only + - * / // and % compute here")
        left, right = self._number(node.left, depth), self._number(node.right, depth)
        return _Part(method(left.expr, right.expr), "number", _tables([left, right]))

    def _compare(self, node: ast.Compare, depth: int) -> _Part:
        exprs, tables = [], frozenset[Table]()
        left: ast.AST = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            expr, used = self._pair(node, left, op, right, depth)
            exprs.append(expr)
            tables |= used
            left = right
        whole = exprs[0]
        for expr in exprs[1:]:
            whole = whole & expr
        return _Part(whole, "bool", tables)

    def _pair(
        self, node: ast.AST, left: ast.AST, op: ast.cmpop, right: ast.AST, depth: int
    ) -> tuple[pl.Expr, frozenset[Table]]:
        if isinstance(op, ast.In | ast.NotIn):
            return self._member(left, right, isinstance(op, ast.NotIn), depth)
        one, two = self._part(left, depth), self._part(right, depth)
        if isinstance(op, ast.Is | ast.IsNot):
            if two.kind != "none":
                raise self._error(right, "'is' is only for None: write  ==")
            if one.column is not None:
                # A flag that is not known counts as false elsewhere, but not here.
                one = _Part(pl.col(one.column), one.kind, one.tables)
            known = one.expr.is_not_null()
            return (known if isinstance(op, ast.IsNot) else ~known), one.tables
        if "none" in (one.kind, two.kind):
            raise self._error(
                right if two.kind == "none" else left, "write  is None  or  is not None"
            )
        if one.kind != two.kind:
            raise self._error(node, f"a {one.kind} cannot be compared with a {two.kind}")
        if one.kind != "number" and not isinstance(op, ast.Eq | ast.NotEq):
            raise self._error(
                node, f"a {one.kind} is not more or less than another: use  ==  or  !="
            )
        for column, other, place in ((one, two, right), (two, one, left)):
            self._known_value(column, other, place)
        compared = _COMPARE[type(op)](one.expr, two.expr)
        return compared, one.tables | two.tables

    def _member(
        self, left: ast.AST, right: ast.AST, negated: bool, depth: int
    ) -> tuple[pl.Expr, frozenset[Table]]:
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise self._error(right, 'a list in brackets is needed after \'in\': ("car", "bus")')
        one = self._part(left, depth)
        values = []
        for element in right.elts:
            part = self._part(element, depth)
            if not part.constant or part.kind != one.kind:
                raise self._error(element, f"only a {one.kind} can be in this list")
            self._known_value(one, part, element)
            values.append(part.value)
        if one.kind == "none":
            raise self._error(left, "None is in no list: write  is None")
        exact = values if one.kind != "number" else [float(str(value)) for value in values]
        inside = one.expr.is_in(exact) if values else pl.lit(False)
        return (~inside if negated else inside), one.tables

    def _known_value(self, column: _Part, value: _Part, node: ast.AST) -> None:
        """A class or split that does not exist is a slip, not a condition that never holds."""
        known = self.columns[column.column].values if column.column else None
        if known is None or not isinstance(value.value, str) or value.value in known:
            return
        near = get_close_matches(value.value, known, 3) or list(known[:5])
        raise self._error(
            node,
            f"no {column.column} is {value.value!r}: did you mean {', '.join(near)}?"
            if near
            else f"there is no {column.column} at all",
        )

    def _call(self, node: ast.Call, depth: int) -> _Part:
        if node.keywords or any(isinstance(one, ast.Starred) for one in node.args):
            raise self._error(node, "only plain values can stand in these brackets")
        if isinstance(node.func, ast.Attribute):
            return self._text_call(node, node.func, depth)
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name == "abs" and len(node.args) == 1:
            part = self._number(node.args[0], depth)
            return _Part(part.expr.abs(), "number", part.tables)
        if name in ("min", "max") and len(node.args) > 1:
            parts = [self._number(value, depth) for value in node.args]
            join = pl.min_horizontal if name == "min" else pl.max_horizontal
            # polars leaves nulls out; here what is not known makes the whole unknown.
            known = pl.all_horizontal(part.expr.is_not_null() for part in parts)
            expr = pl.when(known).then(join(*(part.expr for part in parts)))
            return _Part(expr, "number", _tables(parts))
        raise self._error(node, "only abs(a), min(a, b) and max(a, b) can be called")

    def _text_call(self, node: ast.Call, func: ast.Attribute, depth: int) -> _Part:
        part = self._part(func.value, depth)
        if part.kind != "text":
            raise self._error(node, f"a {part.kind} has no .{func.attr}")
        if func.attr == "lower" and not node.args:
            return _Part(part.expr.str.to_lowercase(), "text", part.tables)
        if func.attr not in ("startswith", "endswith", "contains") or len(node.args) != 1:
            raise self._error(
                node,
                "a text has only .startswith(text), .endswith(text), .contains(text), .lower()",
            )
        wanted = self._part(node.args[0], depth)
        if wanted.kind != "text" or not wanted.constant:
            raise self._error(node.args[0], "a text in quotes is needed here")
        found = {
            "startswith": part.expr.str.starts_with(wanted.expr),
            "endswith": part.expr.str.ends_with(wanted.expr),
            "contains": part.expr.str.contains(wanted.expr, literal=True),
        }
        return _Part(found[func.attr], "bool", part.tables)

    _KINDS: Mapping[type[ast.AST], Callable[..., _Part]] = {
        ast.Name: _name,
        ast.Constant: _constant,
        ast.BoolOp: _boolop,
        ast.UnaryOp: _unary,
        ast.BinOp: _binop,
        ast.Compare: _compare,
        ast.Call: _call,
    }


def _tables(parts: Sequence[_Part]) -> frozenset[Table]:
    return frozenset[Table]().union(*(part.tables for part in parts))


def _unless_zero(
    divide: Callable[[pl.Expr, pl.Expr], pl.Expr],
) -> Callable[[pl.Expr, pl.Expr], pl.Expr]:
    """Dividing by 0 gives something unknown, not infinity, which is more than everything."""
    return lambda a, b: pl.when(b != 0).then(divide(a, b))


_ARITHMETIC: dict[type[ast.operator], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: _unless_zero(lambda a, b: a / b),
    ast.FloorDiv: _unless_zero(lambda a, b: (a / b).floor()),
    ast.Mod: _unless_zero(lambda a, b: a - (a / b).floor() * b),
}

_COMPARE: dict[type[ast.cmpop], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}
