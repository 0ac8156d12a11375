"""The servers' own readers and objects take what is exported, and have the values."""

import pytest

from tests.check_exports.torchserve import torchserve

# From plain to everything at once; `exported` in tests/bench/export/test_export.py has the rest.
SETTINGS = {
    "plain": ({"device": "cpu"}, {}),
    "no delay, two at a time": ({"device": "cpu"}, {"max_batch_size": 2, "batch_timeout_ms": 0}),
    "everything": (
        {"device": "cuda:0,cuda:1"},
        {
            "max_batch_size": 16,
            "batch_timeout_ms": 2.5,
            "preferred_batch_sizes": [4, 8],
            "max_queue_size": 64,
            "deadline_ms": 200,
            "execute_timeout_ms": 1500,
            "replicas": 2,
            "slo_ms": 49.2,
            "policy": "deadline",
        },
    ),
}


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def setting(request):
    return request.param


def test_tritons_protobuf_reads_the_config(exported, setting):
    text_format = pytest.importorskip("google.protobuf.text_format")
    grpc = pytest.importorskip("tritonclient.grpc")
    model, batcher = setting
    path = exported("triton", "config.pbtxt", model, **batcher)
    config = text_format.Parse(path.read_text(), grpc.model_config_pb2.ModelConfig())
    assert config.max_batch_size == batcher.get("max_batch_size", 32)
    dynamic = config.dynamic_batching
    assert dynamic.max_queue_delay_microseconds == batcher.get("batch_timeout_ms", 10) * 1000
    sizes = batcher.get("preferred_batch_sizes", [])
    assert list(dynamic.preferred_batch_size) == [*sizes, 16][: 3 if sizes else 0]
    policy = dynamic.default_queue_policy
    assert policy.max_queue_size == batcher.get("max_queue_size", 0)
    assert policy.default_timeout_microseconds == batcher.get("deadline_ms", 0) * 1000
    assert policy.timeout_action == policy.REJECT
    groups = config.instance_group
    assert sum(group.count for group in groups) == batcher.get("replicas", 1)
    assert [list(group.gpus) for group in groups] == ([[0], [1]] if "replicas" in batcher else [[]])


def test_ray_serve_takes_the_deployment(imported, setting):
    pytest.importorskip("ray.serve")
    model, batcher = setting
    module = imported("ray-serve", model, **batcher)
    deployment = module.BatchedModel
    size = batcher.get("max_batch_size", 32)
    assert deployment.num_replicas == batcher.get("replicas", 1)
    assert deployment.max_ongoing_requests == 2 * size
    assert deployment.max_queued_requests == (64 - 2 * 16 if "max_queue_size" in batcher else -1)
    predict = deployment.func_or_class.predict
    assert predict._get_max_batch_size() == size
    assert predict._get_batch_wait_timeout_s() == batcher.get("batch_timeout_ms", 10) / 1000
    assert module.app is not None


def test_litserve_takes_the_server(imported, setting):
    pytest.importorskip("litserve")
    model, batcher = setting
    server = imported("litserve", model, **batcher).make_server()
    [api] = server.litapi_connector.lit_apis
    assert api.max_batch_size == batcher.get("max_batch_size", 32)
    assert api.batch_timeout == batcher.get("batch_timeout_ms", 10) / 1000
    assert api.request_timeout == ("deadline_ms" in batcher and 0.2)
    assert server.workers_per_device == 1
    assert server.devices == ([["cuda:0"], ["cuda:1"]] if "replicas" in batcher else ["cpu"])


def test_bentoml_takes_the_service(imported, setting):
    pytest.importorskip("bentoml")
    model, batcher = setting
    service = imported("bentoml", model, **batcher).BatchedModel
    api = service.apis["predict"]
    assert api.batchable
    assert api.max_batch_size == batcher.get("max_batch_size", 32)
    assert api.max_latency_ms == (50 if "slo_ms" in batcher else 60_000)
    assert service.config["workers"] == batcher.get("replicas", 1)
    places = service.config.get("traffic", {}).get("max_concurrency")
    assert places == (64 + 2 * 16 if "max_queue_size" in batcher else None)
    assert service.inner().predict([1, 2]) == [1, 2]


def test_torchserve_reads_the_config(exported, setting, tmp_path):
    model, batcher = setting
    path = exported("torchserve", "model-config.yaml", model, **batcher)
    found = torchserve(path, tmp_path)
    workers = str(batcher.get("replicas", 1))
    assert (found["minWorkers"], found["maxWorkers"]) == (workers, workers)
    assert found["batchSize"] == str(batcher.get("max_batch_size", 32))
    assert found["maxBatchDelay"] == (
        "3" if "replicas" in batcher else str(batcher.get("batch_timeout_ms", 10))
    )
    assert found["jobQueueSize"] == str(batcher.get("max_queue_size", 2**31 - 1))
    assert found["responseTimeout"] == ("2" if "execute_timeout_ms" in batcher else "120")
    assert found["deviceType"] == ("GPU" if "replicas" in batcher else "CPU")
