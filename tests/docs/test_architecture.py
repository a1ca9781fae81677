"""The architecture picture shows the layers and rooms that import-linter enforces."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.docs import draw_architecture


def test_the_committed_picture_is_what_the_contracts_draw() -> None:
    committed = draw_architecture.PICTURE.read_text("utf-8")

    assert committed == draw_architecture.draw(), "run `make architecture`"


def test_every_room_of_the_gateway_is_in_the_picture() -> None:
    picture = draw_architecture.PICTURE.read_text("utf-8")
    gateway = ROOT / "fhir-gateway" / "ehr_gateway"
    rooms = {path.parent.name for path in gateway.glob("*/__init__.py")}

    assert {room for room in rooms if f">{room}<" not in picture} == set()
