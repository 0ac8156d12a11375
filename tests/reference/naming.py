"""Short names of devices and profiles, for folders and files: h100, h100-resnet50-fp16."""

import re

# What a device's name has beside what tells it from others.
_NOISE = re.compile(
    r"nvidia|tesla|geforce|amd|intel|processor|cpu|@|\d+-core|[\d.]+ghz|\d+gb|hbm\d*e?",
    re.IGNORECASE,
)


def device_slug(name, cores=None):
    """A device's name in short.

    Args:
        name: as the driver or the system gives it: "NVIDIA H100 80GB HBM3".
        cores: of a processor, those that may be used.
    """
    words = re.sub(r"\((R|TM)\)", "", name, flags=re.IGNORECASE).split()
    kept = [re.sub(r"-\d+GB$", "", word) for word in words if not _NOISE.fullmatch(word)]
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join(kept).lower()).strip("-.") or "device"
    return slug if cores is None else f"{slug}-{cores}-cores"


def profile_name(slug, model, dtype, engine):
    """A profile's name; the engine is left out where it is the default one."""
    model = re.sub(r"[^a-z0-9.]+", "-", model.lower()).strip("-")
    return "-".join([slug, model, dtype, *([] if engine == "eager" else [engine])])
