"""The lake behind a gateway: what was written and decided over HTTP is in its tables."""

from __future__ import annotations

from pathlib import Path

from ehr_etl.change_feed.gateway_feed import HttpFeed
from ehr_etl.lake import Lake, read_small_table
from ehr_etl.pipeline import LakeWriter
from ehr_etl.status import read_status
from tests.lib.gateway import House, consent, must
from tests.lib.lake_input import KEY, resources


def test_an_opt_out_over_http_is_gone_after_the_next_batch(
    furnished: House, tmp_path: Path
) -> None:
    lake = Lake(tmp_path / "lake")
    token = furnished.system("ehr-commons", "ehr/feed.read").headers["Authorization"][7:]
    feed = HttpFeed(furnished.client, token, limit=4)
    now = furnished.clock()

    with LakeWriter(lake, KEY) as writer:
        writer.take_in(feed)
        writer.bring_up(now)
        joined = resources(lake, "deid", "Observation")
        refusal = {"type": "deny"}
        body = consent("no-research", "research", provision=refusal)
        furnished.login("p.pat-1").store(body)
        cursor = writer.cursor
        is_told = feed.wait_for_change(cursor.position, cursor.decision, 60)
        writer.take_in(feed)
        writer.bring_up(now)
        gone = resources(lake, "deid", "Observation")
        must(furnished.login("p.pat-1").delete("Consent/no-research"))
        writer.take_in(feed)
        writer.bring_up(now)
    status = read_status(lake)

    assert (len(joined), is_told, gone) == (3, True, [])
    assert resources(lake, "deid", "Observation") == joined
    assert read_small_table(lake, "gold/patient_demographics").num_rows == 2
    assert (status.lines_waiting, status.position) == (0, writer.cursor.position)
    assert {table.table for table in status.tables} >= {"silver", "deid", "gold/condition_flat"}
