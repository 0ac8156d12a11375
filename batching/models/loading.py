"""Models by name: built-in, synthetic, or a factory of the user's own."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from batching.clock import Clock
from batching.errors import ModelError
from batching.models.contract import Model
from batching.models.synthetic import AffineModel, RooflineModel, parse_times_s
from batching.plugins import PluginKind

# Name -> what it is; the zoo itself is imported only when one of its models is asked for, because
# it imports torch.
ZOO = {
    "mlp": "4 x Linear 1024 + ReLU, a ranking tower; input [1024]",
    "resnet50": "ResNet-50, image [3, 224, 224] of bytes, normalised on the device",
    "resnet50-float": "ResNet-50, input [3, 224, 224] float32, normalised by the caller",
    "vit-b16": "ViT-B/16, image [3, 224, 224] of bytes, normalised on the device",
    "vit-b16-float": "ViT-B/16, input [3, 224, 224] float32, normalised by the caller",
    "bert-base": "BERT-base, token ids [8..128]",
}
ONNX = {"onnx": "onnx:model.onnx, a file with a dynamic batch axis, run by ONNX Runtime"}
TAKES_LENGTHS = ("bert-base",)
SYNTHETIC = {
    "affine": "affine:a_ms,b_ms takes a + b*n for a batch of n",
    "roofline": "roofline:overhead_ms,floor_ms,item_ms takes overhead + max(floor, item*n)",
}

_PLUGIN = PluginKind("model", "function", ModelError)


def load_model(
    spec: str,
    *,
    clock: Clock,
    weights: Path | None = None,
    length_buckets: Sequence[int] = (),
) -> Model:
    """The model that `spec` names; nothing heavy is built before its `prepare`.

    Args:
        spec: a built-in name, `affine:...`, `roofline:...`, `onnx:path/to/model.onnx`, or
            `path/to/file.py:factory` or `package.module:factory`, where calling the factory without
            arguments gives a `Model`.
        clock: the time that synthetic models take is taken on this clock.
        weights: a local checkpoint for a built-in torch model.
        length_buckets: see `TokenModel`; for the built-in models that take token ids.

    Raises:
        ModelError: no such model, or its factory failed.
    """
    if weights is not None:
        if spec not in ZOO:
            raise ModelError(f"weights go with a model of {', '.join(ZOO)}, but got {spec!r}")
        if not weights.exists():
            raise ModelError(f"weights must be a local file or folder, but got {str(weights)!r}")
    if length_buckets and spec not in TAKES_LENGTHS:
        raise ModelError(
            f"length_buckets go with a model of {', '.join(TAKES_LENGTHS)}, but got {spec!r}"
        )
    name, _, argument = spec.partition(":")
    if spec in ZOO:
        zoo = importlib.import_module("batching.models.zoo")
        factory: Callable[..., Model] = getattr(zoo, spec.replace("-", "_"))
        return factory(weights, length_buckets) if length_buckets else factory(weights)
    if name == "affine":
        a_s, b_s = parse_times_s(name, argument, ("a", "b"))
        return AffineModel(a_s, b_s, clock)
    if name == "roofline":
        overhead_s, floor_s, item_s = parse_times_s(name, argument, ("overhead", "floor", "item"))
        return RooflineModel(overhead_s, floor_s, item_s, clock)
    if name == "onnx" and argument:
        from batching.models.onnx_model import parse_onnx

        return parse_onnx(argument)
    if argument:
        return _user_model(*spec.rsplit(":", 1))
    known = ", ".join([*ZOO, *SYNTHETIC.values(), "onnx:model.onnx"])
    raise ModelError(f"model must be one of {known}, or path/to/file.py:factory, but got {spec!r}")


def _user_model(source: str, attribute: str) -> Model:
    model = _PLUGIN.build(source, attribute)
    if not isinstance(model, Model):
        raise ModelError(
            f"{source}:{attribute}() must return a batching.Model (a TorchModel, say), "
            f"but got {type(model).__name__}"
        )
    return model
