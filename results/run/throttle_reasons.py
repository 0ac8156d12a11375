"""Why a GPU runs below the clock it could have: NVML's bit mask of reasons, in words.

The bits are those of nvmlDeviceGetCurrentClocksEventReasons (NVML API reference, "Clocks Event
Reasons"); the two above 0x100 are in NVML's headers only.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One bit of the mask.

    Args:
        bit: The bit.
        words: What lowered the clock, as in "because of its power limit".
        limiting: Whether it takes speed away that the load asks for; an idle GPU and a clock that
            its owner has set do not.
    """

    bit: int
    words: str
    limiting: bool = True


REASONS = (
    Reason(0x001, "nothing to do", limiting=False),
    Reason(0x002, "the clocks that were set for it", limiting=False),
    Reason(0x004, "its power limit"),
    Reason(0x008, "a hardware slowdown"),
    Reason(0x010, "the clock of the GPUs it is synchronised with", limiting=False),
    Reason(0x020, "its temperature (software)"),
    Reason(0x040, "its temperature (hardware)"),
    Reason(0x080, "the power supply's brake"),
    Reason(0x100, "the display's clock setting", limiting=False),
    Reason(0x200, "the board's limit"),
    Reason(0x400, "its reliability limit"),
)

LIMITING = sum(reason.bit for reason in REASONS if reason.limiting)
"""The bits that make a figure one of a slower GPU."""


def words(mask: int, *, limiting: bool = False) -> tuple[str, ...]:
    """Return the reasons of a mask in words; with `limiting` only those that take speed away."""
    return tuple(
        reason.words
        for reason in REASONS
        if mask & reason.bit and (reason.limiting or not limiting)
    )
