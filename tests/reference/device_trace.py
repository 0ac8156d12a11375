"""What a GPU did in one steady second, from the trace that torch's profiler writes.

The trace is the Trace Event Format of Chrome: complete events ("ph": "X") with `ts` and `dur` in
microseconds; on the device those of the categories below.
"""

from collections import defaultdict

KERNEL, COPIES = "kernel", ("gpu_memcpy", "gpu_memset")
# Kernels follow each other at this distance without anybody waiting, microseconds.
BETWEEN_KERNELS_US = 5.0


def summarise(events, skip_s=0.0, most=8):
    """How busy the device was, and in which gaps it was not.

    Args:
        events: the trace's events, as dictionaries.
        skip_s: what begins sooner after the first of them is left out.
        most: kinds of gaps to name.

    Returns:
        `window_s`, from the first to the last thing the device did; the shares of it in which it
        computed, copied (which may be meanwhile), and did neither; and the gaps of more than 5 us
        by what came before and after, the ones that cost most first. None for a trace without
        anything on a device.
    """
    work = sorted(
        (event["ts"], event["ts"] + event["dur"], event["cat"], event["name"])
        for event in events
        if event.get("ph") == "X" and event.get("cat") in {KERNEL, *COPIES}
    )
    work = [one for one in work if one[0] >= work[0][0] + 1e6 * skip_s]
    if not work:
        return None
    begin_us, end_us = work[0][0], max(end for _, end, _, _ in work)
    window_us = (end_us - begin_us) or 1e-9
    computed_us = _union_us((a, b) for a, b, cat, _ in work if cat == KERNEL)
    copied_us = _union_us((a, b) for a, b, cat, _ in work if cat != KERNEL)
    gaps = _gaps(work)
    long = {pair: times for pair, times in gaps.items() if times}
    ranked = sorted(long.items(), key=lambda item: -sum(item[1]))
    return {
        "window_s": window_us / 1e6,
        "kernels": sum(cat == KERNEL for _, _, cat, _ in work),
        "copies": sum(cat != KERNEL for _, _, cat, _ in work),
        "computing_share": computed_us / window_us,
        "copying_share": copied_us / window_us,
        "idle_share": 1.0 - _union_us((a, b) for a, b, _, _ in work) / window_us,
        "short_gaps_share": _short_us(work) / window_us,
        "gaps": [
            {
                "after": before,
                "before": after,
                "count": len(times),
                "share": sum(times) / window_us,
                "longest_s": max(times) / 1e6,
            }
            for (before, after), times in ranked[:most]
        ],
    }


def _union_us(intervals):
    """Length of the union of intervals sorted by their begin."""
    total_us, reached_us = 0.0, float("-inf")
    for begin_us, end_us in intervals:
        total_us += max(0.0, end_us - max(begin_us, reached_us))
        reached_us = max(reached_us, end_us)
    return total_us


def _idle(work):
    """Each time in which nothing ran: its length, what ended last before it, what came after."""
    reached_us, last = work[0][1], work[0][3]
    for begin_us, end_us, _, name in work[1:]:
        if begin_us > reached_us:
            yield begin_us - reached_us, last, name
        if end_us > reached_us:
            reached_us, last = end_us, name


def _gaps(work):
    gaps = defaultdict(list)
    for length_us, before, after in _idle(work):
        if length_us > BETWEEN_KERNELS_US:
            gaps[_short(before), _short(after)].append(length_us)
    return gaps


def _short_us(work):
    return sum(length_us for length_us, _, _ in _idle(work) if length_us <= BETWEEN_KERNELS_US)


def _short(name, most=60):
    """A kernel's name without its template arguments and parameters."""
    head = name.split("<")[0].split("(")[0].removeprefix("void ").strip() or name
    return head[:most] if not name.startswith("Mem") else name[:most]
