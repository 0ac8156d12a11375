"""Reading a file from its content, or being refused it."""

import pytest

from workloads import Reading, TraceFileError, load


@pytest.fixture
def read(tmp_path):
    def read(content, name="mine", **reading):
        path = tmp_path / name
        path.write_bytes(content)
        return load(path, Reading(**reading))

    return read


@pytest.fixture
def refused(read):
    """What is said of a file that is refused, without its name."""

    def refused(content, **reading):
        with pytest.raises(TraceFileError) as caught:
            read(content, **reading)
        message = str(caught.value)
        assert "\n" not in message
        return message.partition("mine: ")[2]

    return refused
