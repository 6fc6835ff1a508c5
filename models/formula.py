"""Formulas of derived measurements: arithmetic over area fractions, and nothing else that Python can do."""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpleeval import InvalidExpression, SimpleEval

from ultraread.errors import ModelCardInvalid

Floats = NDArray[np.float64]
MAX_LENGTH = 200
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def _sqrt(value: Floats) -> Floats:
    """numpy's own would write into a second argument."""
    return np.sqrt(value)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {"sqrt": _sqrt}
ALLOWED = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Load, ast.Constant, *OPERATORS)


@dataclass(frozen=True, slots=True)
class Formula:
    """A checked formula; `names` are its classes in the order in which they appear."""

    text: str
    names: tuple[str, ...]

    def __call__(self, fractions: Mapping[str, Floats]) -> Floats:
        """Evaluate on (R,) area fractions, 0 to 1, by class name; not finite where it is not defined."""
        evaluator = SimpleEval(operators=OPERATORS, functions=FUNCTIONS, names=dict(fractions))
        with np.errstate(all="ignore"):
            return np.asarray(evaluator.eval(self.text), np.float64)


def parse_formula(text: str, class_names: Sequence[str]) -> Formula:
    """Check a formula such as sqrt(axon / (axon + myelin)). Raises ModelCardInvalid for anything else."""
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError(f"it is longer than {MAX_LENGTH} characters")
        formula = Formula(text, _classes_in(ast.parse(text.strip(), mode="eval").body, class_names))
        if formula(dict.fromkeys(class_names, np.full(3, 0.5))).shape != (3,):
            raise ValueError("it gives no number")
    except (
        ArithmeticError,
        InvalidExpression,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
    ) as failure:
        raise ModelCardInvalid(f"formula {text[:MAX_LENGTH]}: {failure}") from failure
    return formula


def _classes_in(tree: ast.expr, class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes by their place in the text; raises ValueError for what is no arithmetic of them."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED) or _is_no_number(node):
            raise ValueError(f"{type(node).__name__} is not taken; + - * / and sqrt are")
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    unknown = [one.id for one in names if one.id not in (FUNCTIONS if id(one) in called else class_names)]
    classes = [one for one in names if id(one) not in called]
    if unknown or not classes:
        raise ValueError(f"{unknown[0]} is not known" if unknown else "it names no class")
    return tuple(
        dict.fromkeys(one.id for one in sorted(classes, key=lambda one: (one.lineno, one.col_offset)))
    )


def _is_no_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) not in (int, float)
