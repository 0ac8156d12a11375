"""A module that takes a dict of inputs and returns several outputs, as `TorchModel` serves it.

dynbatch bench --model docs/examples/dict_model.py:make
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from batching import TorchModel
from batching.models.collation import Padding

WORDS, WIDTH, CLASSES = 1000, 64, 10


class Ranker(nn.Module):
    """Scores texts for a user: ids and mask `[B, L]`, user `[B, 8]`, to scores and an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.user = nn.Linear(8, WIDTH)
        self.scores = nn.Linear(WIDTH, CLASSES)

    def forward(
        self, ids: torch.Tensor, user: torch.Tensor, mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """`{"scores": [B, 10], "embedding": [B, 64]}`."""
        kept = self.words(ids) * mask[..., None]
        embedding = kept.sum(1) / mask.sum(1, keepdim=True) + self.user(user)
        return {"scores": self.scores(embedding), "embedding": embedding}


def make_input(rng: np.random.Generator) -> dict[str, Any]:
    """One request: from 4 to 32 ids, and eight numbers about the user."""
    return {
        "ids": rng.integers(0, WORDS, size=rng.integers(4, 33)),
        "user": rng.standard_normal(8, dtype=np.float32),
    }


def make() -> TorchModel:
    """The factory that `--model` names: ids are padded with 0, and `mask` says where they are."""
    return TorchModel(Ranker, make_input, name="ranker", padding=Padding({"ids": 0}, mask="mask"))
