import asyncio
import contextlib

from ray import serve
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import DeploymentConfig
from ray.serve.context import _set_internal_replica_context
from ray.serve.schema import ReplicaRank


def pretend_to_be_a_replica():
    """The decorator asks its replica for `max_ongoing_requests`, and raises outside of one."""
    _set_internal_replica_context(
        replica_id=ReplicaID("none", deployment_id=DeploymentID(name="none")),
        servable_object=None,
        _deployment_config=DeploymentConfig(max_ongoing_requests=1_000_000),
        rank=ReplicaRank(rank=0, node_rank=0, local_rank=0),
        world_size=1,
    )


@contextlib.asynccontextmanager
async def make(run, *, max_batch_size, batch_timeout_ms):
    pretend_to_be_a_replica()

    @serve.batch(max_batch_size=max_batch_size, batch_wait_timeout_s=batch_timeout_ms / 1e3)
    async def add_request(payloads):
        return await asyncio.get_running_loop().run_in_executor(None, run, payloads)

    yield Batched(add_request)


class Batched:
    def __init__(self, add_request):
        self.add_request = add_request
