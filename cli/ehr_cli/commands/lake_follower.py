"""`ehr lake follow`, and the process that does so beside `ehr up --all`, saying less."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from ehr_cli.commands.lake import describe_held, send_faults, send_quality
from ehr_cli.commands.lake_access import (
    RETRY_SECONDS,
    WAIT_SECONDS,
    now_ms,
    open_feed,
    open_gateway,
    open_writer,
    send_lineage,
)
from ehr_cli.commands.open_data import refresh_if_due
from ehr_cli.server.companion import end_with_parent
from ehr_cli.settings import Settings, load_settings
from ehr_fhir.errors import EhrError, Unavailable

if TYPE_CHECKING:
    import httpx

    from ehr_etl.pipeline import LakeWriter, TableChange

# Between two runs of the quality gate, and of upkeep, while following. Chosen: the gate reads whole
# gold tables (3 s of processor time and more, and its first run in a process 5 s to import Great
# Expectations), so it waits for so many seconds without a change, though not for ever; upkeep takes
# some tenths of a second, and what is old grows by up to 0.2 MB with each change.
CHECK_SECONDS = 600
QUIET_SECONDS = 2
LATEST_CHECK_SECONDS = 1800
MAINTENANCE_SECONDS = 60
SWEEP_SECONDS = 10
# Between two reports of faults to the gateway. Chosen: each holds all there are, and is read and
# written whole, which would be most of the work of a batch.
REPORT_SECONDS = 10
# Between two looks for months of open data that are due. Chosen: they are due once a month.
OPEN_DATA_SECONDS = 3600
# Until refreshes that the gateway refused are told again. Chosen.
LINEAGE_RETRY_SECONDS = 60


def follow_lake(
    settings: Settings, feed: str | None, on_change: Callable[[str], None] = typer.echo
) -> None:
    """Follow the gateway's feed until stopped, in one process."""
    base_url = feed or settings.base_url
    with open_writer(settings) as writer:
        follower = _Follower(settings, writer, base_url, on_change)
        failures = 0
        while True:
            try:
                follower.follow_once()
                failures = 0
            except Unavailable as error:
                # Once is what a restart of the gateway does.
                if failures:
                    typer.echo(f"{error} Asking again.", err=True)
                failures += 1
                time.sleep(RETRY_SECONDS)


class _Follower:
    """Updates the tables on every change of the feed; checks quality and maintains in intervals."""

    def __init__(
        self,
        settings: Settings,
        writer: LakeWriter,
        base_url: str,
        on_change: Callable[[str], None],
    ) -> None:
        self._settings, self._writer, self._base_url = settings, writer, base_url
        self._on_change = on_change
        self._unchecked: TableChange | None = None
        self._unchecked_since = float("inf")
        self._has_unsent_faults = False
        self._checked_at = self._maintained_at = self._swept_at = self._reported_at = float("-inf")
        self._published_at = self._told_again_at = float("-inf")

    def follow_once(self) -> None:
        """Apply new changes, run the upkeep that is due, and wait for the next change."""
        with (
            open_feed(self._settings, self._base_url) as feed,
            open_gateway(self._settings, self._base_url) as (client, token),
        ):
            renewed = time.monotonic() + self._settings.token_seconds / 2
            is_quiet = False
            while time.monotonic() < renewed:
                lines = self._writer.take_in(feed)
                change = self._writer.bring_up(now_ms())
                self._send_lineage(client, token)
                if change.written:
                    self._on_change(f"{lines:,} changes: {', '.join(sorted(change.written))}.")
                    self._add_unchecked(change)
                    self._has_unsent_faults |= bool(change.written & {"quarantine", "findings"})
                self._report_faults()
                if self._is_check_due(is_quiet=is_quiet and not change.written):
                    self._check_quality()
                self._run_due_upkeep()
                self._refresh_open_data()
                cursor = self._writer.cursor
                seconds = self._choose_wait()
                is_changed = feed.wait_for_change(cursor.position, cursor.decision, seconds)
                is_quiet = not is_changed and seconds >= QUIET_SECONDS

    def _choose_wait(self) -> float:
        """Return for how many seconds to wait for a change: until something else is to be done."""
        seconds = min(WAIT_SECONDS, self._writer.seconds_until_due(now_ms()))
        if self._has_unsent_faults:
            seconds = min(seconds, REPORT_SECONDS)
        if self._is_check_due(is_quiet=True):
            seconds = min(seconds, QUIET_SECONDS)
        return seconds

    def _add_unchecked(self, change: TableChange) -> None:
        if self._unchecked is None:
            self._unchecked, self._unchecked_since = change, time.monotonic()
        else:
            self._unchecked.written |= change.written
            self._unchecked.silver.add(change.silver)
            self._unchecked.at_ms = change.at_ms

    def _report_faults(self) -> None:
        """Tell the gateway what has faults, if that changed, and not at every batch."""
        now = time.monotonic()
        if self._has_unsent_faults and now - self._reported_at >= REPORT_SECONDS:
            send_faults(self._settings, self._base_url)
            self._has_unsent_faults, self._reported_at = False, now

    def _is_check_due(self, *, is_quiet: bool) -> bool:
        now = time.monotonic()
        if self._unchecked is None or now - self._checked_at < CHECK_SECONDS:
            return False
        return is_quiet or now - self._unchecked_since >= LATEST_CHECK_SECONDS

    def _check_quality(self) -> None:
        from ehr_etl.gold.promotion import list_held_promotions

        assert self._unchecked is not None  # noqa: S101 - it is due
        quality = self._writer.check_quality(self._unchecked)
        self._unchecked, self._checked_at = None, time.monotonic()
        send_quality(self._settings, self._base_url, quality)
        for held in list_held_promotions(self._writer.lake):
            self._on_change(describe_held(held))

    def _run_due_upkeep(self) -> None:
        now = time.monotonic()
        hours = self._settings.lake_retention_hours
        if now - self._maintained_at >= MAINTENANCE_SECONDS:
            self._writer.maintain(hours, now_ms())
            self._maintained_at = self._swept_at = now
        elif now - self._swept_at >= SWEEP_SECONDS:
            self._writer.maintain(hours, now_ms(), is_thorough=False)
            self._swept_at = now

    def _send_lineage(self, client: httpx.Client, token: str) -> None:
        """Put refreshes on record; they wait where the gateway takes none, and the lake goes on."""
        now = time.monotonic()
        if now < self._told_again_at:
            return
        try:
            send_lineage(client, token, self._writer)
        except Unavailable:
            raise
        except EhrError as error:
            self._told_again_at = now + LINEAGE_RETRY_SECONDS
            typer.echo(f"Refreshes of the lake are not on record yet: {error}", err=True)

    def _refresh_open_data(self) -> None:
        """Publish the months of open data that are due; the lake follows on where that fails."""
        now = time.monotonic()
        if now - self._published_at < OPEN_DATA_SECONDS:
            return
        self._published_at = now
        try:
            refresh_if_due(self._settings)
        except EhrError as error:
            typer.echo(f"Open data was not refreshed: {error}", err=True)
        except Exception as error:
            # A foreign error's text may quote a record; its type cannot.
            typer.echo(f"Open data was not refreshed: {type(error).__name__}.", err=True)


def main() -> int:
    """Follow until the server ends."""
    end_with_parent()
    try:
        settings = load_settings()
        # Not by the public address: that may be a proxy elsewhere.
        address = f"http://{settings.host}:{settings.port}"
        follow_lake(settings, address, on_change=lambda text: None)
    except EhrError as error:
        sys.stderr.write(f"The lake does not follow: {error}\n")
        return error.exit
    except Exception as error:
        # A foreign error's text may quote a record; its type cannot.
        sys.stderr.write(f"The lake does not follow: {type(error).__name__}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
