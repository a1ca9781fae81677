"""Step-up: marker, request, code, grant; and every way that must not lead to one."""

from __future__ import annotations

from tests.lib.gateway import House
from tests.spec.access.steps import ask, named, redeem, send, xray


def test_a_pharmacist_meets_the_marker_asks_and_sees_until_the_grant_ends(furnished: House) -> None:
    furnished.share()
    xray(furnished, "ray-1")
    pharmacist = furnished.login("pharmacist.b")
    marked = named(pharmacist.get("Patient/pat-1/$withheld"))
    assert marked == {"shared": [True], "hidden": [False], "domain": ["radiology"]}
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 404

    request = ask(furnished, pharmacist)
    assert named(redeem(furnished, pharmacist, request))["state"] == ["active"]

    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200
    assert "domain" not in named(pharmacist.get("Patient/pat-1/$withheld"))
    furnished.clock.forward(seconds=24 * 3600)
    later = furnished.login("pharmacist.b")
    assert later.get("ImagingStudy/ray-1").status_code == 404
