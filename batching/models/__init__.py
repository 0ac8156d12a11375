"""Models that can be served in batches, and how to name one.

Importing this does not import torch; asking it for `TorchModel` or `TokenModel` does.
"""

from typing import TYPE_CHECKING, Any

from batching.models.contract import CallableModel, Collated, Model, Placement, Staging
from batching.models.loading import SYNTHETIC, ZOO, load_model
from batching.models.synthetic import AffineModel, RooflineModel, SyntheticModel

if TYPE_CHECKING:
    from batching.models.torch_model import TokenModel, TorchModel

__all__ = [
    "SYNTHETIC",
    "ZOO",
    "AffineModel",
    "CallableModel",
    "Collated",
    "Model",
    "Placement",
    "RooflineModel",
    "Staging",
    "SyntheticModel",
    "TokenModel",
    "TorchModel",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name in {"TokenModel", "TorchModel"}:
        from batching.models import torch_model

        return getattr(torch_model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
