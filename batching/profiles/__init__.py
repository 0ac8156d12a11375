"""How long a model takes for a batch of each size: measured, kept, asked, drawn from."""

from batching.profiles.builtin import builtin_names
from batching.profiles.curve import Parts
from batching.profiles.draws import ServiceDraws
from batching.profiles.files import load_profile, save_profile
from batching.profiles.measure import Step, measure_profile
from batching.profiles.profile import ServiceProfile, require_match
from batching.profiles.samples import BatchSample
from batching.profiles.subject import Differences, Subject, subject_of

__all__ = [
    "BatchSample",
    "Differences",
    "Parts",
    "ServiceDraws",
    "ServiceProfile",
    "Step",
    "Subject",
    "builtin_names",
    "load_profile",
    "measure_profile",
    "require_match",
    "save_profile",
    "subject_of",
]
