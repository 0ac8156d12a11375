"""The built-in torch models: built from their configuration with random weights, nothing fetched.

Latency does not depend on the values of the weights. `weights` takes a local checkpoint: a folder
in the transformers layout, or a file with a state dict.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from batching.errors import ModelError
from batching.models.serving import Normalisation
from batching.models.torch_model import TokenModel, TorchModel

_MLP_WIDTH = 1024
_MLP_LAYERS = 4
_IMAGE = (3, 224, 224)
# Of what transformers' classifiers return.
_RESULT = "logits"
# Of the images that ResNet-50 is usually trained on (ImageNet, RGB), and what ViT takes them for.
_IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def mlp(weights: Path | None = None) -> TorchModel:
    """Four times Linear(1024, 1024) + ReLU, a ranking tower: input `[1024]`, output `[1024]`."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for _ in range(_MLP_LAYERS):
            layers += [nn.Linear(_MLP_WIDTH, _MLP_WIDTH), nn.ReLU()]
        return nn.Sequential(*layers)

    def make_input(rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(_MLP_WIDTH, dtype=np.float32))

    return TorchModel(build, make_input, name="mlp", weights=weights)


def resnet50(weights: Path | None = None, *, bytes_in: bool = True) -> TorchModel:
    """ResNet-50 (He et al. 2015): input `[3, 224, 224]`, output `[classes]`.

    Args:
        weights: a local checkpoint.
        bytes_in: made inputs are images of bytes, normalised on the device, in place of float32
            ones that are taken as they are.
    """

    def configured() -> nn.Module:
        from transformers import ResNetConfig, ResNetForImageClassification

        return ResNetForImageClassification(ResNetConfig())

    def pretrained(folder: Path) -> nn.Module:
        from transformers import ResNetForImageClassification

        return ResNetForImageClassification.from_pretrained(folder, local_files_only=True)

    build, state = _from_checkpoint(configured, pretrained, weights)
    return TorchModel(
        build,
        _image_of_bytes if bytes_in else _image_of_floats,
        name="resnet50" if bytes_in else "resnet50-float",
        weights=state,
        normalisation=_IMAGENET,
        convolutional=True,
        output=_RESULT,
    )


def resnet50_float(weights: Path | None = None) -> TorchModel:
    """ResNet-50 with float32 inputs, normalised by the caller."""
    return resnet50(weights, bytes_in=False)


def vit_b16(weights: Path | None = None, *, bytes_in: bool = True) -> TorchModel:
    """ViT-B/16 (Dosovitskiy et al. 2020): input `[3, 224, 224]`, output `[classes]`.

    Args:
        weights: a local checkpoint.
        bytes_in: as for `resnet50`.
    """

    def configured() -> nn.Module:
        from transformers import ViTConfig, ViTForImageClassification

        return ViTForImageClassification(ViTConfig())

    def pretrained(folder: Path) -> nn.Module:
        from transformers import ViTForImageClassification

        return ViTForImageClassification.from_pretrained(folder, local_files_only=True)

    build, state = _from_checkpoint(configured, pretrained, weights)
    return TorchModel(
        build,
        _image_of_bytes if bytes_in else _image_of_floats,
        name="vit-b16" if bytes_in else "vit-b16-float",
        weights=state,
        normalisation=_HALF,
        output=_RESULT,
    )


def vit_b16_float(weights: Path | None = None) -> TorchModel:
    """ViT-B/16 with float32 inputs, normalised by the caller."""
    return vit_b16(weights, bytes_in=False)


def bert_base(weights: Path | None = None, length_buckets: Sequence[int] = ()) -> TorchModel:
    """BERT-base (Devlin et al. 2018), sequence classification: input token ids `[l]`, int64.

    The lengths of made inputs are log-normal with a median of 48 tokens, cut to 8..128: short
    texts with a long tail, as search queries and sentences are.
    """

    def configured() -> nn.Module:
        from transformers import BertConfig, BertForSequenceClassification

        return BertForSequenceClassification(BertConfig())

    def pretrained(folder: Path) -> nn.Module:
        from transformers import BertForSequenceClassification

        return BertForSequenceClassification.from_pretrained(folder, local_files_only=True)

    def make_input(rng: np.random.Generator) -> torch.Tensor:
        length = int(np.clip(rng.lognormal(np.log(48), 0.6), 8, 128))
        return torch.from_numpy(rng.integers(1000, 30000, size=length))

    def build() -> nn.Module:
        module = load()
        module.register_forward_pre_hook(_spread_mask, with_kwargs=True)
        return module

    load, state = _from_checkpoint(configured, pretrained, weights)
    return TokenModel(
        build,
        make_input,
        name="bert-base",
        weights=state,
        length_buckets=length_buckets,
        output=_RESULT,
    )


def _spread_mask(module: nn.Module, args: Any, named: dict[str, Any]) -> tuple[Any, Any]:
    """Give transformers' BERT its mask as attention takes it, `[B, 1, 1, L]`, with the same result.

    Of a mask `[B, L]` it asks whether anything is masked at all, to leave it out if not: the host
    then waits for the device in the middle of a batch, which no other batch can be launched behind
    meanwhile; and it does not ask while a graph is captured, which has other kernels then.
    """
    from transformers.models.bert import modeling_bert

    del module
    mask = named.get("attention_mask")
    if mask is None or mask.dim() != 2:
        return args, named
    # Before 5.0 it spreads three dimensions to four itself, and refuses four.
    takes_four = hasattr(modeling_bert, "create_bidirectional_mask")
    spread = mask.bool()[:, None, None, :] if takes_four else mask[:, None, :]
    return args, {**named, "attention_mask": spread}


def _image_of_bytes(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, size=_IMAGE, dtype=np.uint8))


def _image_of_floats(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(_IMAGE, dtype=np.float32))


def _from_checkpoint(
    configured: Callable[[], nn.Module],
    pretrained: Callable[[Path], Any],
    weights: Path | None,
) -> tuple[Callable[[], nn.Module], Path | None]:
    """How to build the module, and the state dict to load into it afterwards, if it is a file."""
    if weights is None or not weights.is_dir():
        return configured, weights

    def build() -> nn.Module:
        try:
            module: nn.Module = pretrained(weights)
        except Exception as error:  # transformers raises many kinds for an unusable folder
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(f"weights {str(weights)!r} cannot be loaded: {reason[0]}") from error
        return module

    return build, None
