"""Versions, also where dynbatch runs from a checkout that was not installed."""

from importlib.metadata import PackageNotFoundError, version

import pytest

from batching import versions
from batching.versions import own_version, version_of


@pytest.fixture
def nothing_installed(monkeypatch):
    def find(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version", find)


def test_are_those_of_what_is_installed():
    assert version_of("numpy") == version("numpy")
    assert version_of("dynbatch") == own_version() == version("dynbatch")
    assert version_of("no-such-package") is None


@pytest.mark.usefixtures("nothing_installed")
class TestWhereItIsNotInstalled:
    def test_our_own_is_that_of_the_checkout_and_others_are_not_there(self):
        assert own_version()[0].isdigit()
        assert version_of("dynbatch") == own_version()
        assert version_of("numpy") is None

    @pytest.mark.parametrize(
        "project",
        [None, "[project]\n", '[project]\nname = "other"\nversion = "7"\n', "not toml"],
    )
    def test_it_is_unknown_outside_of_its_own_checkout(self, tmp_path, project):
        if project is not None:
            (tmp_path / "pyproject.toml").write_text(project)
        assert own_version(tmp_path) == "unknown"
