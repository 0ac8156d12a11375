"""Models in ONNX files: what is read from the file, what a request gets, what is refused."""

import copy

import numpy as np
import pytest
import torch

from batching import (
    BatchExecutionError,
    ConfigError,
    DeviceError,
    DynamicBatcher,
    ModelError,
    RealClock,
)
from batching.execution.choose import make_executor
from batching.execution.executor import HostExecutor
from batching.models import Placement, load_model
from batching.models.onnx_model import parse_onnx
from batching.profiles import subject_of
from tests.batching.onnx_files import FLOAT, linear, onnx, save, tokens

ON_CPU = Placement()


def load(spec):
    return load_model(spec, clock=RealClock())


def test_a_request_gets_its_own_row_of_the_output(tmp_path):
    model = load(f"onnx:{linear(tmp_path / 'a.onnx')}")
    with DynamicBatcher(model, max_batch_size=4, batch_timeout_ms=50, device="cpu") as batcher:
        requests = [batcher.submit(np.eye(4, dtype=np.float32)[i]) for i in range(4)]
        rows = [request.result(20) for request in requests]
    assert [row.tolist() for row in rows] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


def test_a_tensor_or_numbers_of_another_format_are_taken_as_the_files_own(tmp_path):
    model = load(f"onnx:{linear(tmp_path / 'a.onnx')}")
    with DynamicBatcher(model, max_batch_size=3, batch_timeout_ms=50, device="cpu") as batcher:
        payloads = [torch.ones(4), np.ones(4), [1, 1, 1, 1]]
        rows = [r.result(20) for r in [batcher.submit(payload) for payload in payloads]]
    assert [row.tolist() for row in rows] == [[18, 22, 26]] * 3


def test_several_inputs_and_outputs_go_by_their_names_and_lengths_keep_apart(tmp_path):
    model = load(f"onnx:{tokens(tmp_path / 'a.onnx')}:seq=7")
    made = model.make_input(np.random.default_rng(0))
    assert {name: value.shape for name, value in made.items()} == {"ids": (7,), "mask": (7,)}
    payloads = [{"ids": np.arange(n), "mask": np.ones(n, dtype=int)} for n in (2, 5, 5)]
    with DynamicBatcher(model, max_batch_size=4, batch_timeout_ms=20, device="cpu") as batcher:
        results = [r.result(20) for r in [batcher.submit(payload) for payload in payloads]]
    assert [int(result["sum"]) for result in results] == [1, 10, 10]
    assert [result["kept"].tolist() for result in results][1] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("payload", [{"ids": np.arange(3)}, np.arange(3), {}])
def test_a_payload_without_an_input_of_the_file_fails_by_itself(tmp_path, payload):
    model = load(f"onnx:{tokens(tmp_path / 'a.onnx')}:seq=3")
    good = model.make_input(np.random.default_rng(0))
    with DynamicBatcher(model, max_batch_size=2, batch_timeout_ms=0, device="cpu") as batcher:
        other, bad = batcher.submit(good), batcher.submit(payload)
        assert int(other.result(20)["sum"]) == 3
        with pytest.raises(BatchExecutionError, match="payload must be a dict with ids, mask"):
            bad.result(20)


def test_a_classifiers_list_of_maps_is_one_for_each_request():
    from batching.models.onnx_model import _column

    assert _column("probabilities", [{0: 0.25}, {0: 0.75}], 2) == [{0: 0.25}, {0: 0.75}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("onnx:nowhere.onnx", "model file must exist, but got 'nowhere.onnx'"),
        ("onnx", "model must be one of"),
        ("onnx:nowhere.onnx:seq=many", "model onnx takes FILE:axis=size,..., but got"),
        ("onnx:nowhere.onnx:seq=0", "model onnx takes FILE:axis=size,..., but got"),
    ],
)
def test_what_names_no_file_is_refused_in_one_line(spec, message):
    with pytest.raises(ModelError) as caught:
        load(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_axis_that_is_fixed_is_named(tmp_path):
    model = load(f"onnx:{linear(tmp_path / 'a.onnx', batch=8)}")
    with pytest.raises(ModelError, match=r"must have a dynamic first axis.* is fixed at 8"):
        model.make_input(np.random.default_rng(0))
    with pytest.raises(ModelError, match="is fixed at 8"):
        model.prepare(ON_CPU)


def test_an_input_without_any_axis_is_named(tmp_path):
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    path = save(tmp_path / "a.onnx", [node], [("x", FLOAT, [])], [("y", FLOAT, [])])
    with pytest.raises(ModelError, match=r"must have a dynamic first axis.* but it has none"):
        load(f"onnx:{path}").make_input(np.random.default_rng(0))


def test_a_dynamic_axis_without_a_size_is_named_with_the_way_out(tmp_path):
    path = tokens(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=f"axis 'seq' .* must be given a size, as onnx:{path}:seq"):
        load(f"onnx:{path}").make_input(np.random.default_rng(0))
    with pytest.raises(ModelError, match=r"must be a dynamic one of a\.onnx, but got height"):
        load(f"onnx:{path}:seq=2,height=3").prepare(ON_CPU)


def test_an_axis_without_a_name_goes_by_its_input_and_index(tmp_path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    path = save(
        tmp_path / "a.onnx", [node], [("x", FLOAT, [None, None])], [("y", FLOAT, [None, None])]
    )
    assert load(f"onnx:{path}:x.1=5").make_input(np.random.default_rng(0)).shape == (5,)


def test_a_file_that_is_none_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="must be one that ONNX Runtime can open") as caught:
        load(f"onnx:{tmp_path / 'a.onnx'}").prepare(ON_CPU)
    assert "\n" not in str(caught.value)


def test_a_device_number_format_or_engine_that_is_not_the_files_is_refused(tmp_path):
    model = load(f"onnx:{linear(tmp_path / 'a.onnx')}")
    with pytest.raises(DeviceError, match="no CUDA provider: install onnxruntime-gpu"):
        model.prepare(Placement("cuda:0"))
    with pytest.raises(ModelError, match="must be left at fp32, but got bf16"):
        model.prepare(Placement("cpu", "bf16"))
    for engine in ("cudagraph", "compile"):
        with pytest.raises(ConfigError, match=f"engine {engine} must have a model"):
            make_executor(model, Placement("cuda:0", "fp32", engine), RealClock())


def test_on_a_gpu_it_is_given_what_is_on_the_host(tmp_path):
    model = load(f"onnx:{linear(tmp_path / 'a.onnx')}")
    assert isinstance(make_executor(model, Placement("cuda:0"), RealClock()), HostExecutor)


def test_a_copy_for_another_device_is_not_prepared_and_works(tmp_path):
    model = parse_onnx(str(linear(tmp_path / "a.onnx")))
    model.prepare(ON_CPU)
    other = copy.deepcopy(model)
    assert other._session is None
    other.prepare(ON_CPU)
    assert other.run({"x": np.ones((1, 4), np.float32)})[0].tolist() == [[18, 22, 26]]


def test_a_profile_of_it_notes_the_version_of_onnx_runtime(tmp_path):
    subject = subject_of(load(f"onnx:{linear(tmp_path / 'a.onnx')}"), ON_CPU)
    assert "onnxruntime" in subject.versions
    assert (subject.model, subject.device, subject.engine) == ("a.onnx", "cpu", "eager")
