"""Whatever is done to a batcher, every request ends once, and its counts and tables are right."""

import pytest

from tests.batching.life.many import live_many
from tests.batching.life.scenarios import TROUBLE


@pytest.mark.parametrize("trouble", TROUBLE)
class TestEveryRequestEndsOnceWhateverIsDone:
    def test_in_virtual_time(self, trouble):
        live_many(20, trouble)

    def test_with_live_threads(self, trouble):
        live_many(2, trouble, live=True)
