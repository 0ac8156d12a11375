"""Several decisions on one run, with one error for all of them together."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
D = TypeVar("D")


def holm(
    questions: Sequence[T],
    decide: Callable[[T, float], D],
    decided: Callable[[D], bool],
    alpha: float,
) -> list[D]:
    """Answer m questions so that the chance of any wrong answer is at most `alpha`.

    Holm's step-down rule: all are asked at alpha / m; those that are decided there stay so, and the
    k left are asked again at alpha / k, until a round decides none. It assumes nothing about how
    the questions depend on each other (Holm, A simple sequentially rejective multiple test
    procedure, Scandinavian Journal of Statistics 6, 1979).

    Args:
        questions: What is asked.
        decide: The answer to one question at an error level; a stricter level never decides more.
        decided: Whether an answer is a decision.
        alpha: The error of all answers together.

    Returns:
        The answers, in the order of the questions; those left undecided as of the last round.
    """
    answers: dict[int, D] = {}
    left = list(range(len(questions)))
    while left:
        level = alpha / len(left)
        round_ = {i: decide(questions[i], level) for i in left}
        answers.update(round_)
        undecided = [i for i in left if not decided(round_[i])]
        if len(undecided) == len(left):
            break
        left = undecided
    return [answers[i] for i in range(len(questions))]


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the given order (Holm 1979).

    The i-th smallest of m is multiplied by m + 1 - i and made no smaller than the one before it;
    claiming all that are <= level keeps the chance of even one false claim <= level, however the
    metrics depend on each other.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted
