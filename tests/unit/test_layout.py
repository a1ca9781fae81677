"""The house stands as pyproject.toml says."""

from __future__ import annotations

import importlib
import tomllib

import pytest

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("*/ehr_*/__init__.py"))


def test_the_wheel_holds_every_package() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert sorted(wheel["packages"]) == PACKAGES


def test_the_lock_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()

    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock


@pytest.mark.parametrize("package", [path.split("/")[1] for path in PACKAGES])
def test_every_exported_name_exists_and_they_are_sorted(package: str) -> None:
    module = importlib.import_module(package)

    names = list(getattr(module, "__all__", []))

    assert names == sorted(names)
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("folder", [path.split("/")[0] for path in PACKAGES])
def test_every_folder_explains_itself(folder: str) -> None:
    readme = (ROOT / folder / "README.md").read_text()

    for heading in ("What comes in", "What goes out", "The path through the files", "Promises"):
        assert heading in readme
