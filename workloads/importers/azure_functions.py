"""Azure Functions invocation trace 2021, from Microsoft's AzurePublicDataset.

It is ordered by the end of the invocations, in seconds from the start of the trace, so that an
arrival is end_timestamp - duration and the arrivals are not in order.
"""

from workloads.importers.csv_traces import CsvTrace
from workloads.importers.rows import Columns


class AzureFunctions(CsvTrace):
    """CSV with app, func, end_timestamp and duration."""

    format = "azure-functions"
    what = "Azure Functions invocation trace 2021 (CSV)"
    columns = Columns(time="end_timestamp", took="duration")
    marks = frozenset({"app", "func", *columns.names})
    kinds = ("number",)
