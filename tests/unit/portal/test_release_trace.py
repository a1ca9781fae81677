"""Where a release came from: a page for who oversees, and the file for a witness."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_portal.oversight.trace_messages import MESSAGES
from ehr_privacy.audit import MESSAGES as TOLD
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]
PAGE = "/releases/returns-1/trace"


def line(
    part: str, state: str, text: str, leaf: int | None = None, message: str = "", /, **values: str
) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [
        {"name": "part", "valueString": part},
        {"name": "state", "valueCode": state},
        {"name": "text", "valueString": text},
    ]
    if leaf is not None:
        parts.append({"name": "leaf", "valueDecimal": leaf})
    parts.append({"name": "message", "valueCode": message})
    parts += [
        {"name": "value", "part": [{"name": "name", "valueString": name},
                                   {"name": "text", "valueString": value}]}
        for name, value in values.items()
    ]  # fmt: skip
    return {"name": "line", "part": parts}


@pytest.fixture
def traced(portal: PortalHouse) -> PortalHouse:
    answer(
        portal,
        True,
        line("checkpoint", "shown", "90 events are signed for"),
        line("release", "shown", "returns-1 was released by steward.ng", 42),
        line("run", "gap", "no leaf says that returns-1 ran"),
        line("new", "gap", "its leaf is not signed for yet", 91),
    )
    return portal


def answer(portal: PortalHouse, is_sound: bool, *lines: dict[str, Any]) -> None:
    portal.fake.operations["$research-trace"] = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "sound", "valueBoolean": is_sound},
            *lines,
            {"name": "proof", "valueString": '{"format": "ehr-commons-trace-1"}'},
        ],
    }


@pytest.mark.parametrize("who", ["steward", "auditor"])
def test_each_step_is_shown_with_its_place_in_the_log(traced: PortalHouse, who: str) -> None:
    shown = traced.log_in(who).get(PAGE).text

    assert "returns-1 was released by steward.ng" in shown
    assert "Leaf 42" in shown
    assert shown.count("Cannot be shown</strong>") == 2
    assert "Other steps" in shown
    assert "new: its leaf is not signed for yet" in shown
    # From the release to the signature, whatever the order of the answer.
    assert shown.index("The release</h2>") < shown.index("The signature of the log</h2>")
    assert ">As signed for</strong>" in shown


def test_what_is_at_fault_is_said_first_and_where_it_is(traced: PortalHouse) -> None:
    answer(traced, False, line("register", "fault", "event 7 of the register was changed", 12))

    shown = traced.log_in("steward").get(PAGE).text

    assert ">Not as signed for</strong>" in shown
    assert "Not as the log says" in shown


def test_the_file_for_a_witness_is_downloaded(traced: PortalHouse) -> None:
    sent = traced.log_in("auditor").get(f"{PAGE}/proof")

    assert sent.json() == {"format": "ehr-commons-trace-1"}
    assert sent.headers["content-disposition"] == 'attachment; filename="returns-1.trace"'


@pytest.mark.parametrize("who", ["researcher", "clinician", "patient"])
def test_the_trace_is_for_who_oversees(traced: PortalHouse, who: str) -> None:
    assert "steward.ng" not in traced.log_in(who).get(PAGE).text


@pytest.mark.parametrize("status", [404, 409])
def test_what_cannot_be_traced_yet_says_so(traced: PortalHouse, status: int) -> None:
    traced.fake.refused_operations["$research-trace"] = (status, "Not yet.")

    shown = traced.log_in("steward").get(PAGE).text

    assert "It cannot be traced yet" in shown
    assert f'href="{PAGE}"' in shown


def test_times_of_the_trace_are_those_of_the_reader(traced: PortalHouse) -> None:
    answer(traced, True, line("run", "shown", "lau ran it at 2026-11-29T16:07:11+00:00, code a1"))

    shown = traced.log_in("steward").get(PAGE).text

    assert "30 Nov 2026 00:07" in shown
    assert "+00:00" not in shown


def test_every_message_of_a_trace_is_translated() -> None:
    # What an older trace told as text has no words of ours.
    assert {"told": "%(text)s", **MESSAGES} == TOLD


@pytest.mark.parametrize(
    ("language", "words"),
    [("zh-Hant-HK", "放行了 returns-1"), ("zh-Hans", "执行时项目的状态：进行中")],
)
def test_a_trace_speaks_the_readers_language(
    traced: PortalHouse, language: str, words: str
) -> None:
    about = {"run": "returns-1", "who": "steward.ng", "at": "2026-11-29T16:07:11+00:00"}
    answer(
        traced,
        True,
        line("release", "shown", "in English", 42, "released", **about),
        line("project", "shown", "in English", 12, "project-state", state="open"),
    )

    shown = traced.log_in("auditor", language).get(PAGE).text
    assert words in shown
    assert "in English" not in shown
    # In the reader's time, not as it stands on record.
    assert about["at"] not in shown
