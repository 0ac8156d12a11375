"""Profiles that come with the package: found by name, listed, and shipped by one command."""

import json
from pathlib import Path

import pytest

from batching.errors import ProfileError
from batching.profiles import builtin, builtin_names, load_profile, save_profile
from tests.batching.profiled import affine, from_times, measured
from tests.reference.ship import ship

NAME = "made-affine"


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """One built-in profile, made for the test."""
    monkeypatch.setattr(builtin, "FOLDER", tmp_path / "shipped")
    profile = measured(affine, max_batch_size=16, budget_s=1.0)
    save_profile(profile, tmp_path / "shipped" / f"{NAME}.json")
    monkeypatch.chdir(tmp_path)
    return profile


@pytest.mark.parametrize("name", [NAME, f"{NAME}.json"])
def test_a_built_in_profile_is_loaded_by_its_name(shipped, name):
    assert load_profile(Path(name)) == shipped


def test_a_file_of_that_name_goes_first(shipped, tmp_path):
    own = from_times({1: [1.0]})
    save_profile(own, tmp_path / f"{NAME}.json")
    assert load_profile(Path(f"{NAME}.json")).samples == own.samples
    assert load_profile(Path(NAME)) == shipped


def test_a_name_in_a_folder_is_no_built_in(shipped):
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        load_profile(Path("here") / f"{NAME}.json")


def test_simulate_takes_a_built_in_by_its_name_and_says_which_it_was(shipped, dynbatch):
    code, out, err = dynbatch(
        "simulate", "--profile", NAME, "--trace", "poisson.json", "--utilization", "0.3",
        "--duration", "5", "--max-batch-size", "16", "--json", "--out", "run",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["simulated"]
    config = json.loads(Path("run/run.json").read_text(encoding="utf-8"))["config"]
    assert config["profile"]["path"] == NAME


def test_an_unknown_name_is_refused_with_those_that_there_are(shipped, dynbatch):
    code, _, err = dynbatch("simulate", "--profile", "h900", "--utilization", "0.3")
    assert code == 2
    assert err == (
        "dynbatch: profile must be a file or a built-in, but got 'h900'; "
        f"the built-in profiles are {NAME}\n"
    )


def test_they_are_listed_with_what_they_are_of(shipped, dynbatch):
    code, out, _ = dynbatch("profile", "--list")
    assert code == 0
    assert NAME in out
    assert "affine" in out
    code, out, _ = dynbatch("profile", "--list", "--json")
    assert json.loads(out)[NAME]["peak_rps"] == shipped.peak_rps


def test_where_none_is_shipped_that_is_said(monkeypatch, tmp_path, dynbatch):
    monkeypatch.setattr(builtin, "FOLDER", tmp_path / "nothing")
    assert dynbatch("profile", "--list") == (0, "no profile is built in so far\n", "")
    code, _, err = dynbatch("simulate", "--profile", "h100", "--utilization", "0.3")
    assert code == 2
    assert err.endswith("the built-in profiles are none so far\n")


def test_every_profile_that_is_shipped_can_be_read_and_is_named_for_its_model():
    for name in builtin_names():
        assert load_profile(Path(name)).subject.model in name


class TestShipping:
    def test_takes_every_profile_of_a_reference_folder(self, shipped, tmp_path):
        target = tmp_path / "package"
        save_profile(shipped, tmp_path / "h1" / "profiles" / "h1-a.json")
        save_profile(shipped, tmp_path / "h1" / "profiles" / "h1-b.json")
        assert ship(tmp_path / "h1", target) == ["h1-a", "h1-b"]
        assert load_profile(target / "h1-b.json") == shipped

    def test_takes_none_where_one_was_interrupted(self, tmp_path):
        save_profile(from_times({1: [1.0]}), tmp_path / "h1" / "profiles" / "a.json")
        cut = from_times({1: [1.0]}, interrupted=True)
        save_profile(cut, tmp_path / "h1" / "profiles" / "b.json")
        with pytest.raises(ProfileError, match="interrupted"):
            ship(tmp_path / "h1", tmp_path / "package")
        assert not (tmp_path / "package").exists()

    def test_of_a_folder_without_profiles_is_refused(self, tmp_path):
        with pytest.raises(ProfileError, match=r"must hold profiles/\*\.json"):
            ship(tmp_path, tmp_path / "package")
