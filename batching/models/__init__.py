"""Models that can be served in batches, and how to name one. Importing this does not import torch.

`TorchModel` and `TokenModel`, for models of your own, are in `batching.models.torch_model`.
"""

from batching.models.contract import CallableModel, Collated, Model, Placement, Staging
from batching.models.loading import SYNTHETIC, ZOO, load_model
from batching.models.synthetic import AffineModel, RooflineModel, SyntheticModel

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
    "load_model",
]
