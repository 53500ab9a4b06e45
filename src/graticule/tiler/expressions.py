"""Band math: a closed grammar over the bands of assets, checked here and evaluated by numexpr in a render process.

Operands are ``asset_b1`` (asset and band, from 1), ``asset`` alone where each asset is one band, and ``b1``, the
band at that place of all that are read from ``assets``. Asset keys may hold any character; the longest that fits wins.
Several outputs are separated by ``;``.

    >>> parse_expression("(nir_b1 - red_b1) / (nir_b1 + red_b1)", keys=("nir", "red"), asset_as_band=False).assets
    ('nir', 'red')
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_LONGEST: Final = 4000  #: characters
_MOST_NODES: Final = 500
_MOST_OUTPUTS: Final = 16
_MOST_OPERANDS: Final = 64
_LARGEST_EXPONENT: Final = 64

_BINARY: Final = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr)
_UNARY: Final = (ast.USub, ast.UAdd, ast.Invert)
_COMPARISONS: Final = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
#: Functions of numexpr, and how many arguments each takes.
FUNCTIONS: Final = {
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"), 1),
    **dict.fromkeys(("arcsinh", "arccosh", "arctanh", "log", "log10", "log1p", "exp", "expm1"), 1),
    **dict.fromkeys(("sqrt", "abs", "floor", "ceil"), 1),
    "arctan2": 2,
    "where": 3,
}


@dataclass(frozen=True, slots=True)
class Operand:
    """A band that an expression reads."""

    asset: str | None  #: None: `band` counts through all bands that are read
    band: int  #: from 1


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression."""

    outputs: tuple[str, ...]  #: as they were written: the names of the bands that come out
    programs: tuple[str, ...]  #: the same, ready for numexpr; the operands are called v0_, v1_, …
    operands: tuple[Operand, ...]

    @property
    def assets(self) -> tuple[str, ...]:
        """The assets that are named, in the order of their first appearance."""
        return tuple(dict.fromkeys(operand.asset for operand in self.operands if operand.asset is not None))


def parse_expression(text: str, *, keys: Iterable[str], asset_as_band: bool) -> Expression:
    """Check an expression against the asset keys that there are.

    Args:
        text: as the request has it.
        keys: of the assets that may be named.
        asset_as_band: does a key alone stand for its only band?

    Raises:
        ValueError: it is outside the grammar, or names what is not there; the message says what.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST} characters")
    outputs = tuple(output for output in (part.strip() for part in text.split(";")) if output)
    if not outputs:
        raise ValueError("it is empty")
    if len(outputs) > _MOST_OUTPUTS:
        raise ValueError(f"it has more than {_MOST_OUTPUTS} outputs")
    operands: dict[Operand, str] = {}
    pattern = _operands(keys, asset_as_band=asset_as_band)
    programs = tuple(_program(output, pattern, operands) for output in outputs)
    return Expression(outputs, programs, tuple(operands))


def _operands(keys: Iterable[str], *, asset_as_band: bool) -> re.Pattern[str]:
    # The longest key first: of the keys `a` and `a-b`, `a-b_b1` means the second.
    known = "|".join(re.escape(key) for key in sorted(set(keys), key=len, reverse=True) if key)
    alternatives = [r"b(?P<place>[0-9]{1,4})(?![0-9A-Za-z_(])"]
    if known:
        alternatives.insert(0, rf"(?P<asset>{known})_b(?P<band>[0-9]{{1,4}})(?![0-9A-Za-z_(])")
        if asset_as_band:
            alternatives.insert(1, rf"(?P<alone>{known})(?![0-9A-Za-z_(])")
    return re.compile(r"(?<![0-9A-Za-z_.])(?:" + "|".join(alternatives) + ")")


def _program(output: str, pattern: re.Pattern[str], operands: dict[Operand, str]) -> str:
    def stand_in(match: re.Match[str]) -> str:
        found = match.groupdict()
        if found.get("asset") is not None:
            operand = Operand(found["asset"], int(found["band"]))
        elif found.get("alone") is not None:
            operand = Operand(found["alone"], 1)
        else:
            operand = Operand(None, int(found["place"]))
        if operand.band < 1:
            raise ValueError(f"{match[0]!r}: bands are counted from 1")
        return operands.setdefault(operand, f"\0{len(operands)}")

    if "\0" in output:
        raise ValueError("it holds a character that cannot be read")
    if reserved := re.search(r"\bv[0-9]+_\b", pattern.sub("", output)):
        raise ValueError(f"{reserved[0][:80]!r} is no band")
    named = pattern.sub(stand_in, output)
    if len(operands) > _MOST_OPERANDS:
        raise ValueError(f"it reads more than {_MOST_OPERANDS} bands")
    program = " ".join(re.sub(r"\0([0-9]+)", r"v\1_", named).split())
    try:
        tree = ast.parse(program, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{output[:80]!r} cannot be read as a formula") from None
    nodes = list(ast.walk(tree))
    if len(nodes) > _MOST_NODES:
        raise ValueError(f"it has more than {_MOST_NODES} parts")
    _check(tree.body)
    if not any(isinstance(node, ast.Name) for node in nodes if not _is_function(node, nodes)):
        raise ValueError(f"{output[:80]!r} reads no band")
    return program


def _check(node: ast.AST) -> None:
    """Is this, and all below it, part of the grammar?"""
    match node:
        case ast.BinOp() if isinstance(node.op, _BINARY):
            if isinstance(node.op, ast.Pow):
                _check_power(node)
            parts: list[ast.expr] = [node.left, node.right]
        case ast.UnaryOp() if isinstance(node.op, _UNARY):
            parts = [node.operand]
        case ast.Compare() if len(node.ops) == 1 and isinstance(node.ops[0], _COMPARISONS):
            parts = [node.left, *node.comparators]
        case ast.Call() if isinstance(node.func, ast.Name) and not node.keywords:
            _check_call(node.func.id, len(node.args))
            parts = node.args
        case ast.Constant() if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            _check_number(node.value)
            return
        case ast.Name() if re.fullmatch(r"v[0-9]+_", node.id):
            return
        case ast.Name():
            raise ValueError(f"{node.id[:80]!r} is no band: write asset_b1, or an asset's key with asset_as_band=true")
        case ast.Compare():
            raise ValueError("compare two values at a time, and join comparisons with & and |")
        case _:
            raise ValueError(f"it holds something that is not allowed ({type(node).__name__})")
    for part in parts:
        _check(part)


def _check_call(name: str, arguments: int) -> None:
    if name not in FUNCTIONS:
        raise ValueError(f"{name[:40]!r} is no function here: {', '.join(sorted(FUNCTIONS))}")
    if arguments != FUNCTIONS[name]:
        raise ValueError(f"{name} takes {FUNCTIONS[name]} arguments, not {arguments}")


def _check_number(value: float) -> None:
    if abs(value) > 1e300 or not math.isfinite(value):
        raise ValueError("it holds a number that is too large")


def _check_power(node: ast.BinOp) -> None:
    # Constants are folded before any pixel is read: 9**9**9 would take all time and memory.
    if not any(isinstance(below, ast.Name) for below in ast.walk(node.left)):
        raise ValueError("only a band can be raised to a power")
    exponent = node.right
    sign = 1
    if isinstance(exponent, ast.UnaryOp) and isinstance(exponent.op, ast.USub):
        exponent, sign = exponent.operand, -1
    if not isinstance(exponent, ast.Constant) or not isinstance(exponent.value, int | float):
        raise ValueError("an exponent is a number")  # noqa: TRY004 - it is what was written that is wrong
    if abs(sign * exponent.value) > _LARGEST_EXPONENT:
        raise ValueError(f"an exponent lies between -{_LARGEST_EXPONENT} and {_LARGEST_EXPONENT}")


def _is_function(node: ast.AST, nodes: list[ast.AST]) -> bool:
    return any(isinstance(call, ast.Call) and call.func is node for call in nodes)
