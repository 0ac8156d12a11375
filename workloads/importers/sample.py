"""The first rows of a file, by which it is decided what its columns mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workloads.importers.rows import Where


@dataclass(frozen=True)
class Sample:
    """The first rows of a file, as text.

    Attributes:
        names: The columns, in their order.
        rows: By name; what a row lacks is empty or not there.
    """

    names: Sequence[str]
    rows: Sequence[Mapping[str, str]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """What is in a column, without what is empty."""
        found = (row.get(name, "").strip() for row in self.rows)
        return [value for value in found if value]

    def first(self, name: str) -> str:
        """The first value of a column, or nothing."""
        return next(iter(self.values(name)), "")

    def has(self, name: str, pattern: re.Pattern[str]) -> bool:
        """Whether one of the first values is like this; others may be bad."""
        return any(pattern.fullmatch(value) for value in self.values(name)[:10])

    def chosen(self, where: Sequence[Where]) -> "Sample":
        """The rows that are meant."""
        kept = [row for row in self.rows if all(row.get(w.column) == w.value for w in where)]
        return Sample(self.names, kept)
