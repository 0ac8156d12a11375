"""Small changes to the code, each of which some test should notice.

Cosmic Ray's operators find and make most; two more are ours. Left alone are annotations,
decorators, what is only for type checkers, what is logged, the `strict` of `zip`, which no input
reaches, and the star behind which arguments go by their names: to let them go by their place as
well changes no call that there is.
"""

import ast
import difflib
import random
from typing import NamedTuple

import parso
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

# Of Cosmic Ray's pairs of operators those that trade places. Most others raise a TypeError at once,
# whatever is tested.
_PAIRS = {
    "Binary": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_FloorDiv Pow_Mul BitAnd_BitOr "
    "BitOr_BitAnd",
    "Comparison": "Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE "
    "GtE_Gt GtE_Lt",
    "Unary": "USub_UAdd Delete_USub Delete_Not",
}
_OTHERS = (
    "AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd "
    "ReplaceBreakWithContinue ReplaceContinueWithBreak ExceptionReplacer NumberReplacer "
    "ZeroIterationForLoop"
)


class Mutant(NamedTuple):
    """A file's code with one change, at these lines; the key is all that tells it from others."""

    file: str
    first: int
    last: int
    key: str
    code: str
    diff: str


class RemoveStatement:
    """Leave out a call, or what is set in an object or added to a name."""

    def mutation_positions(self, node):
        if node.type == "simple_stmt":
            what = node.children[0]
            target = what.children[0] if what.type == "expr_stmt" else what
            if target.type == "atom_expr" or "+= " in what.get_code() or "-= " in what.get_code():
                yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        return _in_place_of(node, "pass\n")


class KeepOne:
    """Of a sum, of `and` or `or`, and of the smaller or larger of two, keep one."""

    def mutation_positions(self, node):
        return [(node.start_pos, node.end_pos)] * len(self._two(node))

    def mutate(self, node, index):
        kept = self._two(node)[index].get_code(include_prefix=False)
        return _in_place_of(node, f"({kept})")

    def _two(self, node):
        types = {"arith_expr", "or_test", "and_test"}
        if node.type == "atom_expr" and node.children[0].get_code().strip() in {"min", "max"}:
            node, types = node.children[1].children[1], {"arglist"}
        two = node.children[::2] if node.type in types else ()
        return two if len(two) == 2 and two[1].type != "argument" else ()


def _in_place_of(node, text):
    made = parso.parse(text).children[0]
    made.get_first_leaf().prefix = node.get_first_leaf().prefix
    return made


def sample(tree, files, number, seed):
    """Return mutants of as many places in the files, drawn at random, the same for a seed."""
    names = [f"Replace{kind}Operator_{p}" for kind, pairs in _PAIRS.items() for p in pairs.split()]
    operators = {n: plugins.get_operator(f"core/{n}")() for n in names + _OTHERS.split()}
    operators |= {"RemoveStatement": RemoveStatement(), "KeepOne": KeepOne()}
    found = []
    for file in files:
        code = (tree / file).read_text()
        nodes, left_alone = list(ast_nodes(get_ast(code))), _left_alone(code)
        for name, operator in operators.items():
            places = [(start, n) for n in nodes for start, _ in operator.mutation_positions(n)]
            found += [
                (file, code, start, name, index)
                for index, (start, node) in enumerate(places)
                if not any(low <= start < high for low, high in left_alone)
                and not (node.type == "operator" and node.parent.type in {"parameters", "lambdef"})
            ]
    random.Random(seed).shuffle(found)
    drawn = {}  # one a place
    for file, code, start, name, index in found:
        if len(drawn) < number and (file, start) not in drawn:
            try:
                changed = mutate_code(code, operators[name], index)
                ast.parse(changed)
            except SyntaxError:  # it would be taken for noticed
                continue
            except AttributeError:  # Cosmic Ray replaces no exception with a dot in its name
                continue
            drawn[file, start] = mutant(
                file, code, changed, f"{name} {index} {start[0]}:{start[1]}"
            )
    return list(drawn.values())


def mutant(file, code, changed, key):
    """Return the mutant that makes other code of a file's."""
    old, new = code.splitlines(), changed.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    spans = [
        (first + 1, max(first + 1, last)) for tag, first, last, _, _ in blocks if tag != "equal"
    ]
    diff = "\n".join(difflib.unified_diff(old, new, file, file, lineterm="", n=1))
    return Mutant(file, spans[0][0], spans[-1][1], f"{file} {key}", changed, diff)


def _left_alone(code):
    """Return the ranges of positions in which nothing is changed."""
    nodes = []
    for node in ast.walk(ast.parse(code)):
        parts = (getattr(node, "annotation", None), getattr(node, "returns", None))
        nodes += [*filter(None, parts), *getattr(node, "decorator_list", [])]
        if isinstance(node, ast.If | ast.Expr | ast.keyword):
            text = ast.unparse(node)
            if text.startswith(("if TYPE_CHECKING", "log.", "strict=")):
                nodes.append(node)
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes]
