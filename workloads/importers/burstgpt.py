"""BurstGPT, requests to ChatGPT and GPT-4 at a campus (Wang et al., arXiv:2401.17644).

`Timestamp` counts seconds from the start of the first day. A request that failed has 0 response
tokens. Newer releases add `Session ID` and `Elapsed time`, which are not needed here.
"""

from workloads.importers.csv_traces import CsvTrace
from workloads.importers.rows import Columns


class BurstGpt(CsvTrace):
    """CSV with Timestamp, Model, Request tokens, Response tokens, Total tokens and Log Type."""

    format = "burstgpt"
    what = "BurstGPT (CSV)"
    columns = Columns(time="Timestamp", input="Request tokens", output="Response tokens")
    marks = frozenset(columns.names)
    kinds = ("number",)
