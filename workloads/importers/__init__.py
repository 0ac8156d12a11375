"""The formats that traces come in. A new one is a file here and a line in IMPORTERS."""

from workloads.errors import TraceFileError
from workloads.importers.access_json import AccessJson
from workloads.importers.access_log import (
    AccessLog,
    EnvoyLog,
    HaProxyLog,
    LoadBalancerLog,
    SquidLog,
)
from workloads.importers.aiperf import AiPerf
from workloads.importers.azure_functions import AzureFunctions
from workloads.importers.azure_llm import AzureLlm
from workloads.importers.bailian import Bailian
from workloads.importers.burstgpt import BurstGpt
from workloads.importers.contract import OPTIONS, Importer, Reading
from workloads.importers.dynbatch_json import DynbatchJson
from workloads.importers.field_lines import Logfmt, Syslog
from workloads.importers.k6 import K6
from workloads.importers.mooncake import Mooncake
from workloads.importers.parquet import Parquet
from workloads.importers.perf_analyzer import PerfAnalyzer
from workloads.importers.plain_csv import PlainCsv, refuse_without_header
from workloads.importers.plain_jsonl import PlainJsonLines
from workloads.importers.prometheus import Prometheus
from workloads.importers.recording import Recording
from workloads.importers.stream import Head
from workloads.importers.w3c import W3cLog

__all__ = ["IMPORTERS", "Importer", "Reading", "choose"]

IMPORTERS: dict[str, Importer] = {
    importer.format: importer
    for importer in (
        DynbatchJson(),
        Recording(),
        Parquet(),
        AzureLlm(),
        BurstGpt(),
        AzureFunctions(),
        Mooncake(),
        Bailian(),
        AiPerf(),
        PerfAnalyzer(),
        K6(),
        AccessLog(),
        EnvoyLog(),
        LoadBalancerLog(),
        SquidLog(),
        HaProxyLog(),
        W3cLog(),
        Logfmt(),
        Syslog(),
        AccessJson(),
        Prometheus(),
        PlainCsv(),
        PlainJsonLines(),
    )
}


def choose(head: Head, reading: Reading, suffixes: list[str]) -> Importer:
    """The importer that the reading names, or else the one that recognises the content.

    Args:
        head: How the file begins.
        reading: What the user said.
        suffixes: Those of the file's name; they decide only whose error a broken file gets.

    Raises:
        TraceFileError: An unknown format, or one that the options do not go with; content that
            no importer recognises, or several do.
    """
    if reading.format is None and reading.columns:
        importer = IMPORTERS[PlainCsv.format]
    elif reading.format is None:
        importer = _recognised(head, suffixes)
    elif reading.format in IMPORTERS:
        importer = IMPORTERS[reading.format]
    else:
        known = ", ".join(IMPORTERS)
        raise TraceFileError(f"trace_format must be one of {known}, but got {reading.format}")
    _check_options(importer, reading)
    return importer


def _recognised(head: Head, suffixes: list[str]) -> Importer:
    for generic in (False, True):
        found = [
            importer
            for importer in IMPORTERS.values()
            if importer.generic == generic and importer.recognises(head)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            could = " or ".join(importer.format for importer in found)
            raise TraceFileError(
                f"must be of one format, but could be {could}: say which with --trace-format"
            )
    if not head.raw.strip() and ".json" not in suffixes:
        raise TraceFileError("must hold a trace, but is empty")
    if ".json" in suffixes or head.text.lstrip()[:1] in {"{", "["}:
        return IMPORTERS[DynbatchJson.format]  # which says what is wrong with it
    if head.text.startswith(("# HELP ", "# TYPE ")):
        raise TraceFileError(
            "must hold arrivals, but is one scrape of metrics, which has none: give the answer to "
            "a range query (/api/v1/query_range) of a request counter"
        )
    refuse_without_header(head)
    raise TraceFileError(
        f"must be a trace in a known format, but none fits: name one of {', '.join(IMPORTERS)} "
        "with --trace-format"
    )


def _check_options(importer: Importer, reading: Reading) -> None:
    for option in OPTIONS:
        if getattr(reading, option) and option not in importer.takes:
            takers = ", ".join(i.format for i in IMPORTERS.values() if option in i.takes)
            raise TraceFileError(
                f"{option} must go with one of the formats {takers}, but this is "
                f"{importer.format}: leave it out, or name another --trace-format"
            )
