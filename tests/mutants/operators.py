"""Small changes to the code, each of which a test should notice.

Cosmic Ray's operators find and make most of them; two more are ours. Left alone are annotations,
decorators, what is only for type checkers, what is logged, and the `strict` of `zip`, which no
input reaches.
"""

import ast
import difflib
import random
from dataclasses import dataclass

import parso
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

# Of two operators that trade places, by Cosmic Ray's names. It knows all pairs, but most of the
# others raise a TypeError at once, and say nothing of the tests.
_SWAPS = {
    "Add": "Sub", "Sub": "Add", "Mul": "Div", "Div": "Mul", "FloorDiv": "Mul", "Mod": "FloorDiv",
    "Pow": "Mul", "BitAnd": "BitOr", "BitOr": "BitAnd", "LShift": "RShift", "RShift": "LShift",
}  # fmt: skip
_COMPARISONS = {
    "Eq": ["NotEq"], "NotEq": ["Eq"], "Is": ["IsNot"], "IsNot": ["Is"],
    "Lt": ["LtE", "GtE"], "LtE": ["Lt", "Gt"], "Gt": ["GtE", "LtE"], "GtE": ["Gt", "Lt"],
}  # fmt: skip
_NAMES = [
    *(f"ReplaceBinaryOperator_{old}_{new}" for old, new in _SWAPS.items()),
    *(f"ReplaceComparisonOperator_{a}_{b}" for a, new in _COMPARISONS.items() for b in new),
    *(f"ReplaceUnaryOperator_{name}" for name in ("USub_UAdd", "Delete_USub", "Delete_Not")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr"),
    *("ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
    *("ExceptionReplacer", "NumberReplacer", "ZeroIterationForLoop"),
]


class RemoveStatement(Operator):
    """Leave out a call, or what is assigned to an attribute or an item or added to a name."""

    def mutation_positions(self, node):
        """Say where."""
        if node.type == "simple_stmt" and self._may_go(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        """Put `pass` in its place."""
        return parso.parse(f"{node.get_first_leaf().prefix}pass\n").children[0]

    @staticmethod
    def _may_go(what):
        if what.type in {"atom_expr", "await"}:
            return not what.get_code().strip().startswith("log.")
        return what.type == "expr_stmt" and (
            what.children[0].type == "atom_expr" or what.children[1].type == "augassign"
        )

    @classmethod
    def examples(cls):
        """None: these are for Cosmic Ray's own tests."""
        return ()


class KeepOne(Operator):
    """Of a sum, of `and` and `or`, and of the smallest or largest, keep one of two operands."""

    def mutation_positions(self, node):
        """Say where, twice each: for the first and for the last."""
        if self._operands(node):
            yield from [(node.start_pos, node.end_pos)] * 2

    def mutate(self, node, index):
        """Put the operand in the place of all."""
        kept = self._operands(node)[index].get_code(include_prefix=False)
        return parso.parse(f"{node.get_first_leaf().prefix}({kept})").children[0]

    @staticmethod
    def _operands(node):
        if node.type in {"arith_expr", "or_test", "and_test"} and len(node.children) == 3:
            return node.children[0], node.children[2]
        if node.type == "atom_expr" and node.children[0].get_code().strip() in {"min", "max"}:
            inside = node.children[1].children[1]
            if inside.type == "arglist" and len(inside.children) == 3:
                last = inside.children[2]
                return None if last.type == "argument" else (inside.children[0], last)
        return None

    @classmethod
    def examples(cls):
        """None: these are for Cosmic Ray's own tests."""
        return ()


@dataclass(frozen=True)
class Mutant:
    """One changed line, or a few; `key` tells it from all others of the same code."""

    file: str
    first: int
    last: int
    key: str
    code: str
    diff: str


def sample(tree, files, number, seed):
    """Return mutants of as many places in the files, drawn at random; the same for a seed."""
    own = {"RemoveStatement": RemoveStatement, "KeepOne": KeepOne}
    operators = {name: plugins.get_operator(f"core/{name}")() for name in _NAMES}
    operators |= {name: made() for name, made in own.items()}
    found = []
    for file in files:
        code = (tree / file).read_text()
        parsed, left_alone = get_ast(code), _left_alone(code)
        for name, operator in operators.items():
            places = [p for node in ast_nodes(parsed) for p in operator.mutation_positions(node)]
            found += [
                (file, start, name, index)
                for index, (start, _) in enumerate(places)
                if not any(low <= start < high for low, high in left_alone)
            ]
    random.Random(seed).shuffle(found)  # noqa: S311 - a sample, no secret
    drawn, taken = [], set()
    for file, start, name, index in found:
        if len(drawn) == number:
            break
        if (file, start) not in taken:
            taken.add((file, start))
            code = (tree / file).read_text()
            changed = mutate_code(code, operators[name], index)
            drawn.append(mutant(file, code, changed, f"{name} {index} at {start[0]}:{start[1]}"))
    return drawn


def mutant(file, code, changed, key):
    """Return the mutant that turns the code of a file into other code."""
    old, new = code.splitlines(), changed.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    spans = [(a, b) for tag, a, b, _, _ in blocks if tag != "equal"]
    diff = "\n".join(difflib.unified_diff(old, new, file, file, lineterm="", n=1))
    last = max(max(a + 1, b) for a, b in spans)
    return Mutant(file, spans[0][0] + 1, last, f"{file} {key}", changed, diff)


def _left_alone(code):
    """Return the ranges of positions in which nothing is changed."""
    nodes = []
    for node in ast.walk(ast.parse(code)):
        nodes += [getattr(node, "annotation", None), getattr(node, "returns", None)]
        nodes += getattr(node, "decorator_list", [])
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes.append(node)
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith("log."):
            nodes.append(node)
        if isinstance(node, ast.keyword) and node.arg == "strict":
            nodes.append(node)
    return [
        ((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n is not None
    ]
