"""The demo's folder: remade if the demo made it, left alone if not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr_cli.demo.demo_folder import MARKER, make_demo_folder
from ehr_fhir.errors import Conflict


def test_a_new_folder_is_made_and_marked(tmp_path: Path) -> None:
    make_demo_folder(tmp_path / "demo")

    assert (tmp_path / "demo" / MARKER).exists()


def test_a_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    make_demo_folder(tmp_path)
    (tmp_path / "old").write_text("x")

    make_demo_folder(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


def test_any_other_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("x")

    with pytest.raises(Conflict, match="left alone"):
        make_demo_folder(tmp_path)

    assert (tmp_path / "thesis").read_text() == "x"
