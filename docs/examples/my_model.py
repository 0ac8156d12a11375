"""A model of one's own for `dynbatch bench --model docs/examples/my_model.py:make`.

A factory takes no arguments and returns a `batching.Model`. For a torch module `TorchModel` is all
it needs: how to build the module, and what one request's input looks like.
"""

import numpy as np
import torch
from torch import nn

from batching import TorchModel

FEATURES, CLASSES = 64, 10


class Classifier(nn.Module):
    """Takes `[B, 64]`, returns `[B, 10]`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, CLASSES))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        scores: torch.Tensor = self.layers(inputs)
        return scores


def make_input(rng: np.random.Generator) -> torch.Tensor:
    """One request, `[64]`, without the batch dimension."""
    return torch.from_numpy(rng.standard_normal(FEATURES, dtype=np.float32))


def make() -> TorchModel:
    """The factory that `--model` names."""
    return TorchModel(Classifier, make_input, name="classifier")
