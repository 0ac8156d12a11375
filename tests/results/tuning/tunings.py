"""tune.json documents made by formula: what a report is drawn from, without any tuning."""

import json
from copy import deepcopy

from results.tuning.record import RECORD, read_tuning

LOAD_RPS = 1000.0
SLO_S = 0.030
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
TIMEOUTS_MS = (0.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)


def setting(size, timeout_ms, policy="timeout", **knobs):
    return {
        "policy": policy, "max_batch_size": size, "batch_timeout_ms": timeout_ms, "in_flight": 1,
        **knobs,
    }  # fmt: skip


def facts(size, timeout_ms, load=1.0):
    """A setting of at most 4 cannot carry the load; waiting costs latency and saves device time."""
    if size <= 4 * load:
        return {"offered_rps": LOAD_RPS * load, "limit_rps": 180.0 * size, "p99_s": None,
                "device_s_per_request": None, "mean_batch_size": None}  # fmt: skip
    batch = min(size, 3.0 + timeout_ms)
    return {
        "offered_rps": LOAD_RPS * load, "limit_rps": 180.0 * size, "mean_batch_size": batch,
        "p99_s": (0.008 + 1.1e-3 * timeout_ms + 0.05 / size) * load,
        "device_s_per_request": 0.004 / batch,
    }  # fmt: skip


def violations(known, *, slo):
    if known["p99_s"] is None:
        return {"load": 0.4}
    return {"load": -1.0, **({"slo": known["p99_s"] / SLO_S - 1.0} if slo else {})}


def judged(size, timeout_ms, fact="device_s_per_request", *, slo=True, **knobs):
    known = facts(size, timeout_ms)
    settings = setting(size, timeout_ms, **knobs)
    return {
        "settings": settings,
        "label": f"{settings['policy']} {size} / {timeout_ms:g} ms",
        "value": known[fact], "violations": violations(known, slo=slo), "capacity_rps": 90.0 * size,
        **known,
    }  # fmt: skip


def trial(number, size, timeout_ms, fact, *, slo=True, **knobs):
    known = facts(size, timeout_ms)
    return {
        "number": number,
        "knobs": {**knobs, "max_batch_size": size, "batch_timeout_ms": timeout_ms},
        "value": known[fact], "violations": violations(known, slo=slo), **known,
    }  # fmt: skip


def goal(objective, fact, best, *, slo=True):
    places = [(size, timeout) for timeout in TIMEOUTS_MS for size in SIZES]
    return {
        "objective": objective, "trials": len(places), "best": best, "candidates": [best],
        "within": {"0.02": 3, "0.05": 7}, "worst_ratio": 4.5,
        "history": [trial(i, *place, fact, slo=slo) for i, place in enumerate(places)],
        "importance": {"batch_timeout_ms": 0.7, "max_batch_size": 0.3},
    }  # fmt: skip


def searched():
    """A tuning for device time within 30 ms that ended after the simulation."""
    cheapest, fastest = judged(64, 15.0), judged(32, 0.0, "p99_s", slo=False)
    loads = {f"{share}": facts(64, 15.0, share) for share in (0.8, 1.2)}
    return {
        "kind": "tuning", "schema_version": 1, "id": "made", "command": "dynbatch tune",
        "created": "2026-01-02T03:04:05+00:00",
        "sentence": "use timeout 64 / 15 ms: it is the one", "met": True,
        "objective": "device-time", "statistic": "p99", "slo": "p99 <= 30 ms", "slo_s": SLO_S,
        "model": "made", "device": "made of formulas", "recommended": setting(64, 15.0),
        "keeps": None, "load": {"name": "poisson", "offered_rps": LOAD_RPS},
        "bound": {"latency_s": 0.004, "capacity_rps": 9e3},
        "goals": {
            "cheapest": goal("device-time", "device_s_per_request", cheapest),
            "fastest": goal("latency", "p99_s", fastest, slo=False),
        },
        "references": {"plain": judged(128, 0.0), "default": judged(32, 10.0)},
        "front": [{"knobs": {"max_batch_size": 128, "batch_timeout_ms": t}, **facts(128, t)}
                  for t in TIMEOUTS_MS],
        "other_loads": loads, "unverified": "not raced on a device, as asked", "verified": None,
    }  # fmt: skip


def raced():
    """The same, raced and confirmed; the default was dropped, the plain setting not answered."""
    document = searched()
    values = {"recommended": [3e-4, 2.8e-4, 3.1e-4, 2.9e-4], "default": [4e-4, 3.9e-4, 4.2e-4]}
    document["unverified"] = None
    document["verified"] = {
        "label": "device time a request", "unit": "s", "rate_rps": LOAD_RPS, "window_s": 4.0,
        "winner": "recommended", "spent_s": 80.0, "remarks": [],
        "arms": {"recommended": setting(64, 15.0), "default": setting(32, 10.0),
                 "plain": setting(128, 0.0)},
        "race": {
            "recommended": {"value": 2.95e-4, "draws": 4, "slo_excess": -0.1,
                            "dropped_after": None, "values": values["recommended"]},
            "default": {"value": 4.03e-4, "draws": 3, "slo_excess": -0.3, "dropped_after": 3,
                        "dropped_why": "surely worse than recommended, x 1.37 of its value",
                        "values": values["default"]},
            "plain": {"value": None, "draws": 4, "slo_excess": None, "dropped_after": None,
                      "values": [8e-4, None, 8.3e-4, 7.9e-4]},
        },
        "predicted": {"recommended": 3.1e-4, "default": 3.9e-4, "plain": None},
        "confirmation": {"value": 3e-4, "draws": 3, "meets_slo": True, "values": {
            "recommended": [3e-4, 3.1e-4, 2.9e-4], "default": [4.1e-4, 4e-4, 3.9e-4]}},
        "gains": [{"over": "default", "verdict": "better", "ratio": 0.75, "low": 0.7,
                   "high": 0.803, "level": 0.05, "draws": 3, "unable": 0}],
        "measured": {"recommended": {
            "p99_s": {"value": 0.0261, "low": 0.025, "high": 0.0272, "draws": 3,
                      "stage": "confirm"},
            "device_s_per_request": {"value": 3e-4, "low": 2.7e-4, "high": 3.3e-4, "draws": 3,
                                     "stage": "confirm"}}},
        "findings": [],
    }  # fmt: skip
    return document


def policies():
    """A search over policies too, one of which has no use for a timeout."""
    document = searched()
    for one in document["goals"].values():
        with_policy = [{**t, "knobs": {"policy": "timeout", **t["knobs"]}} for t in one["history"]]
        for size in SIZES:
            known = trial(len(with_policy), size, 20.0, "device_s_per_request")
            known["knobs"] = {"policy": "deadline", "max_batch_size": size}
            with_policy.append(known)
        one["history"] = with_policy
    return document


def one_knob():
    """A search over batch sizes alone."""
    document = searched()
    for one in document["goals"].values():
        one["history"] = one["history"][: len(SIZES)]
        one["importance"] = None
    return document


def few():
    """Two trials, of which one carries the load."""
    document = searched()
    for one in document["goals"].values():
        one["history"] = [one["history"][0], one["history"][-1]]
        one["importance"] = None
    document["front"] = document["front"][:1]
    return document


def names_only():
    """Nothing searched that is a number."""
    document = searched()
    for one in document["goals"].values():
        history = one["history"][4:6]
        for entry, policy in zip(history, ("timeout", "window"), strict=True):
            entry["knobs"] = {"policy": policy}
        one["history"], one["importance"] = history, None
    return document


def unmet():
    """No setting meets the SLO."""
    document = searched()
    document |= {"met": False, "sentence": "no setting meets p99 <= 30 ms"}
    for one in document["goals"].values():
        one["best"]["violations"] = {"slo": 0.4}
        for entry in one["history"]:
            entry["violations"] = {"slo": 0.5}
            entry["value"] = None if one["objective"] == "latency" else entry["value"]
    return document


def old():
    """As it was written before there were reports."""
    document = raced()
    for name in ("schema_version", "id", "created", "command", "slo_s"):
        del document[name]
    for one in document["goals"].values():
        for name in ("history", "importance"):
            del one[name]
        del one["best"]["label"], one["best"]["capacity_rps"]
    for name in ("arms", "measured", "findings", "unit"):
        del document["verified"][name]
    return document


def nobody_answered():
    """A race in which every setting left requests unanswered."""
    document = raced()
    verified = document["verified"]
    verified |= {"winner": None, "gains": [], "confirmation": {}, "measured": {}}
    for arm in verified["race"].values():
        arm |= {"value": None, "values": [None] * 3}
    return document | {"met": False}


def on_the_device():
    """A search on the device itself, with other traffic beside other loads."""
    document = raced()
    document |= {"searched": "on the device", "remarks": ["the search ended by its budget"]}
    document["verified"]["predicted"] = {}
    document["goals"]["cheapest"]["history"][20]["ended"] = "certainly loses"
    bursty = {"gap_cv": 1.4, "dispersion": 8.0, "span_s": 0.1}
    document["other_traffic"] = {
        "burstier": {"contrast": 1.33, "before": {**bursty, "dispersion": 4.0}, "after": bursty,
                     **facts(64, 24.0)}
    }  # fmt: skip
    return document


DOCUMENTS = {
    made.__name__: made
    for made in (
        raced, policies, one_knob, few, names_only, unmet, old, nobody_answered,
        on_the_device,
    )
}  # fmt: skip


def written(folder, document):
    """The tuning of a document in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps(deepcopy(document)), encoding="utf-8")
    return read_tuning(folder)
