"""A folder of a reference run, as a part finds it."""

import pytest

from tests.reference.folder import Folder
from tests.reference.samples import H100


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path / "h100")
    made.prepare(H100)
    return made
