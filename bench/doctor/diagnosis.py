"""From what was seen of a machine to what can be measured on it, and what is wrong with it."""

from dataclasses import dataclass
from math import isnan

from bench.doctor.accelerators import Accelerator, Accelerators
from bench.doctor.machine import Machine
from results import format as fmt
from results.run.throttle_reasons import LIMITING, words
from results.run.validity import SLIP_BUDGET
from results.run.wording import NVML_PERIOD

# Stalls make up to SLIP_BUDGET of a p99 latency believable: with these, latencies under 50 ms are
# not to be had.
_MOST_STALL_S = 0.005
_MOST_OTHERS_SHARE = 0.2
_MOST_STOLEN_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong, and what can be done about it.

    Attributes:
        unfit: whether results are not to be believed as long as it is so.
    """

    message: str
    remedy: str
    unfit: bool = True


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that can be measured here, or cannot.

    Attributes:
        what: the quantity.
        how: by what means, or why not.
        possible: whether it can be.
    """

    what: str
    how: str
    possible: bool = True


def complaints(machine: Machine, accelerators: Accelerators) -> list[Complaint]:
    """What is wrong with the machine, what makes results unfit first."""
    found = [*_of_machine(machine), *_of_torch(accelerators)]
    for gpu in accelerators.found:
        found += _of_gpu(gpu)
    names = sorted({str(gpu.facts["name"]) for gpu in accelerators.found})
    if len(names) > 1:
        found.append(
            Complaint(
                f"the GPUs are of different kinds: {', '.join(names)}",
                "Name with --device only GPUs of one kind in a run.",
                unfit=False,
            )
        )
    return sorted(found, key=lambda complaint: not complaint.unfit)


def _of_machine(machine: Machine) -> list[Complaint]:
    found: list[Complaint] = []
    if machine.stall_s.p99 > _MOST_STALL_S:
        found.append(
            Complaint(
                f"an idle process is woken late by {fmt.duration(machine.stall_s.p99)} at p99",
                "Close other programs, or use a machine whose cores are not shared.",
            )
        )
    if machine.others_cores > _MOST_OTHERS_SHARE * machine.cores:
        found.append(
            Complaint(
                f"other programs use {fmt.number(machine.others_cores)} of {machine.cores} cores",
                "End them, or wait for them to end.",
            )
        )
    if machine.stolen_share > _MOST_STOLEN_SHARE:
        found.append(
            Complaint(
                f"a hypervisor gives {fmt.percent(machine.stolen_share)} of these cores' time to "
                "other machines",
                "Use a machine whose cores are not shared.",
            )
        )
    if machine.quota_cores is not None and machine.quota_cores < machine.cores:
        found.append(
            Complaint(
                f"{machine.cores} cores are in sight, but a limit (cpu.max) allows the time of "
                f"{fmt.number(machine.quota_cores)}: whoever uses it up stands still until the "
                "next period",
                "Give the container whole cores (--cpuset-cpus) in place of a quota.",
            )
        )
    if machine.cores == 1:
        found.append(
            Complaint(
                "there is one core: model, batcher and sender take turns on it",
                "Use two cores or more.",
                unfit=False,
            )
        )
    return found


def _of_torch(accelerators: Accelerators) -> list[Complaint]:
    if accelerators.found:
        return []
    if accelerators.torch_cuda is not None:
        return [
            Complaint(
                f"torch was built for CUDA {accelerators.torch_cuda}, but finds no GPU",
                "If there is one, look at its driver (nvidia-smi) and at CUDA_VISIBLE_DEVICES.",
                unfit=False,
            )
        ]
    if accelerators.installed:
        return [
            Complaint(
                f"the driver knows {accelerators.installed} GPU(s), but torch was built without "
                "CUDA",
                "Install a torch built for CUDA.",
                unfit=False,
            )
        ]
    return []


def _of_gpu(gpu: Accelerator) -> list[Complaint]:
    found: list[Complaint] = []
    if gpu.others.count > 0:  # nan is not
        held = gpu.others.memory_bytes
        memory = "" if isnan(held) else f", holding {fmt.size(held)} of its memory"
        number = int(gpu.others.count)
        who = "another process computes" if number == 1 else f"{number} processes compute"
        found.append(
            Complaint(
                f"{gpu.device}: {who} on it{memory}",
                "End them (nvidia-smi lists them) or choose another GPU with --device.",
            )
        )
    if gpu.tells("gpu_throttle_reasons"):
        mask = int(gpu.state["gpu_throttle_reasons"])
        if mask & LIMITING:
            found.append(
                Complaint(
                    f"{gpu.device}: its clock is held down by "
                    f"{' and '.join(words(mask, limiting=True))}",
                    "Let it cool down, or raise its power limit.",
                )
            )
    limit_w, usual_w = gpu.facts.get("power_limit_w"), gpu.facts.get("power_limit_default_w")
    if limit_w and usual_w and limit_w < 0.99 * usual_w:
        found.append(
            Complaint(
                f"{gpu.device}: its power limit is {fmt.watts(limit_w)}, by default "
                f"{fmt.watts(usual_w)}",
                "Its figures are those of a slower GPU; say so with them.",
                unfit=False,
            )
        )
    if gpu.facts.get("mig_mode"):
        found.append(
            Complaint(
                f"{gpu.device}: it is divided (MIG): what is measured is a slice of a GPU, whose "
                "power is shared with its neighbours",
                "Its figures are of that slice; say so with them.",
                unfit=False,
            )
        )
    if gpu.facts.get("persistence_mode") is False:
        found.append(
            Complaint(
                f"{gpu.device}: persistence mode is off, so the first use after a pause is slow",
                "nvidia-smi -pm 1",
                unfit=False,
            )
        )
    return found


def abilities(machine: Machine, accelerators: Accelerators) -> list[Ability]:
    """What can be measured here, by what means, and what cannot be."""
    floor_s = machine.stall_s.p99 / SLIP_BUDGET
    shared = [
        Ability(
            "latency",
            f"p99 from about {fmt.duration(floor_s)} on; below, the machine's stalls are more "
            f"than {fmt.percent(SLIP_BUDGET)} of it",
        ),
        Ability(
            "busy fraction",
            "by CUDA events" if accelerators.found else "by host time stamps around the model",
        ),
        Ability("FLOP/s", "torch's counter over busy time, for models of torch"),
    ]
    if not accelerators.found:
        why = "no GPU that torch can use"
        rest = ("MFU", "NVML utilisation", "power and energy", "clocks", "other processes")
        return [*shared, *(Ability(what, why, possible=False) for what in rest)]
    return shared + [ability for gpu in accelerators.found for ability in _of_driver(gpu)]


def _of_driver(gpu: Accelerator) -> list[Ability]:
    why = gpu.why_not or "its driver does not tell"
    peak = gpu.facts.get("peak_flops_per_s")
    period_s = gpu.facts.get("nvml_utilization_period_s")
    period = NVML_PERIOD if period_s is None else fmt.duration(period_s)
    counter = gpu.tells("gpu_energy_j")
    energy = "energy counter" if counter else "power readings, integrated"
    found = [
        (
            "MFU",
            peak is not None,
            f"of {fmt.flops(peak)} ({gpu.facts.get('peak_format')}, dense)",
            "no published peak is known for it",
        ),
        ("NVML utilisation", gpu.tells("gpu_utilization"), f"by the driver, over {period}", why),
        ("power and energy", counter or gpu.tells("gpu_power_w"), energy, why),
        ("clocks", gpu.tells("gpu_sm_clock_mhz"), "by the driver, with reasons to lower them", why),
        ("other processes", not isnan(gpu.others.count), "as the driver lists them", why),
    ]
    return [
        Ability(f"{what} of {gpu.device}", how if can else reason, possible=can)
        for what, can, how, reason in found
    ]
