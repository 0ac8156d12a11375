"""Azure LLM inference traces of 2023 and 2024, from Microsoft's AzurePublicDataset.

The files of 2023 have times in UTC without a zone and seven digits after the second; those of
2024 have a zone, and no fraction where it would be 0.
"""

from workloads.importers.csv_traces import CsvTrace
from workloads.importers.rows import Columns


class AzureLlm(CsvTrace):
    """CSV with TIMESTAMP, ContextTokens and GeneratedTokens."""

    format = "azure-llm"
    what = "Azure LLM inference trace 2023 or 2024 (CSV)"
    columns = Columns(time="TIMESTAMP", input="ContextTokens", output="GeneratedTokens")
    marks = frozenset(columns.names)
    kinds = ("local", "zoned")
