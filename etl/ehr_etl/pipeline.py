"""The lake's one writer: takes in the change feed and brings every table up to it.

What changed is applied in batches (`batch`), and costs what changed, whatever the size of the lake.
Where much changed at once, or rules, keys or views did, tables are made anew (`rebuild`). A crash
can only make work come twice, and doing it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.batch import Batch, BatchWriter
from ehr_etl.change_feed.entries import EVERYBODY, FeedLine, parse_line
from ehr_etl.data_quality.expectations import check_gold_tables
from ehr_etl.data_quality.results import TableQuality, read_quality_results, write_quality_results
from ehr_etl.data_quality.rules import load_quality_rules, rules_digest
from ehr_etl.erasure.erased_lines import LakeErasure, find_erased
from ehr_etl.erasure.lake_erasure import erase_from_bronze, erase_from_lake
from ehr_etl.erasure.other_records import find_others, read_lines_of_others
from ehr_etl.gold.library import list_view_names
from ehr_etl.gold.notes import NOTES_TABLE, bring_up_notes, has_notes, keep_notes
from ehr_etl.gold.tables import (
    create_gold_table,
    drop_table_on_failure,
    list_gold_views,
    view_digest,
)
from ehr_etl.jobs import LocalRunner, Runner, RunParts
from ehr_etl.lake import Lake, count_rows, gold_table_name
from ehr_etl.lineage import SendRecords, note_refresh, send_refreshes
from ehr_etl.omop.state import OmopState, load_state, omop_digest, save_state
from ehr_etl.omop.writer import OmopWriter, create_omop_tables
from ehr_etl.progress import Progress, load_progress, save_progress
from ehr_etl.rebuild.omop import rebuild_omop
from ehr_etl.rebuild.research import rebuild_research
from ehr_etl.rebuild.silver import SILVER_TABLES, rebuild_silver
from ehr_etl.sql_on_fhir import ViewDefinition
from ehr_etl.tables.bronze import (
    FeedCursor,
    FeedSource,
    read_decision_lines,
    read_erasures,
    read_lines,
    stored_cursor,
    take_in_feed,
)
from ehr_etl.tables.bucketed import Layout, create_tables
from ehr_etl.tables.decisions import ClosedRecords
from ehr_etl.tables.deid import deid_digest
from ehr_etl.tables.quarantine import (
    clear_steward_decisions,
    summarize_silver,
    write_steward_decisions,
)
from ehr_etl.tables.scores import append_scores
from ehr_etl.tables.silver import SilverReport
from ehr_etl.upkeep import clear_leftovers, drop_abandoned_tables, maintain_tables
from ehr_etl.writer_lock import hold_writer_lock
from ehr_fhir.errors import Conflict, NotFound

__all__ = ["LakeWriter", "ReadKey", "TableChange", "forget_tables"]

# Rows of silver in a bucket when the buckets are made: a change of one record reads and writes so
# many rows of each table. Measured: docs/decisions/012.
ROWS_PER_BUCKET = 2000
# A change writes no more than a part of a small table. Chosen: at a change a second what is old
# stays smaller than the table.
_FEWEST_BUCKETS = 16
# Buckets are made anew when they have so many times these rows on average. Chosen.
_CROWDED = 4
# Versions, and patients whose decision changed, in a batch: what is held in memory at once. Chosen.
_BATCH_VERSIONS = 2000
_BATCH_PATIENTS = 50
# From here on tables are made anew rather than changed in place: so many lines, and so large a part
# of silver. Measured: 16,000 lines of a first load take 22 s of processor time either way, but only
# making anew uses more than one processor; that it does from 10,000 rows on.
_REBUILD_LINES = 10_000
_REBUILD_PART = 0.25

# The OMOP tables' name among those that are made anew: all of them together.
_OMOP = "omop"

# Called for a key that may not be there yet.
ReadKey = Callable[[], bytes | None]


@dataclass
class TableChange:
    """What bringing the tables up did."""

    # The instant of the run.
    at_ms: int = 0
    silver: SilverReport = field(default_factory=SilverReport)
    closed: ClosedRecords = field(default_factory=ClosedRecords)
    written: set[str] = field(default_factory=set)
    rebuilt: list[str] = field(default_factory=list)
    # Tables of users' own views that could not be brought up to date, and are gone.
    dropped: set[str] = field(default_factory=set)


class LakeWriter:
    """The one writer of a lake; another one, in whatever process, is refused.

    `runner` makes tables anew: by default on the processors of this machine. `read_erasure_key`
    returns the key by which the feed names erased patients; it is made at the first erasure.
    """

    def __init__(
        self,
        lake: Lake,
        deid_key: bytes,
        runner: Runner | None = None,
        *,
        read_erasure_key: ReadKey = lambda: None,
    ) -> None:
        self.lake, self._key, self._runner = lake, deid_key, runner or LocalRunner()
        # The same lake, for what is done with every change.
        self._open_lake = lake.keep_tables_open()
        self._read_erasure_key = read_erasure_key
        self.cursor = FeedCursor()
        self._progress = Progress()
        self._lock = ExitStack()
        # When the first term of a decision begins or ends; None before it was looked up.
        self._due_ms: int | None = None
        # Whether what was cut short may come again: see `batch`.
        self._is_cut_short = False
        # Whether every table was held against what is on record, since another wrote last.
        self._is_compared = False
        # Whether the files of every table were looked through, since another wrote last.
        self._is_maintained = False

    def __enter__(self) -> LakeWriter:
        with ExitStack() as stack:
            stack.enter_context(hold_writer_lock(self.lake))
            if self.lake.has_table("silver") and not self.lake.has_table("findings"):
                raise Conflict(
                    "The lake was made by an older version of eHR Commons. Remove the folder "
                    f"{self.lake.root} and run the lake again: it is read anew from the feed."
                )
            create_tables(self.lake)
            drop_abandoned_tables(self.lake)
            self._progress = load_progress(self.lake)
            self.cursor = stored_cursor(self.lake)
            self._is_cut_short = self.cursor.sequence > self._progress.sequence
            # Held from here on until the writer is closed.
            self._lock = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def take_in(self, feed: FeedSource) -> int:
        """Append what is new in the feed to bronze; return how many lines that is."""
        first = self.cursor.sequence
        self.cursor = take_in_feed(feed, self._open_lake, self.cursor)
        return self.cursor.sequence - first

    def bring_up(self, now_ms: int) -> TableChange:
        """Bring every table up to bronze, to the decisions of stewards and to the clock."""
        change = TableChange(at_ms=now_ms)
        if erased := read_erasures(self._open_lake, self._progress.sequence, self.cursor.sequence):
            self.erase(erased, now_ms)
        views = list_gold_views(self.lake)
        pending = self.cursor.sequence - self._progress.sequence
        if not self._progress.buckets and pending <= _REBUILD_LINES:
            self._begin_empty(views, pending, now_ms)
        stale = self._find_stale_tables(views, pending)
        with self._runner.open(self.cursor.sequence) as run:
            if "silver" in stale:
                self._rebuild_silver(run, change, now_ms)
            else:
                due = self._find_due_patients(now_ms)
                judged = self._take_in_steward_decisions()
                if pending or due:
                    self._apply_batches(change, views, stale, judged, due)
                    # Doubt about everybody closes all that is there; a shared record that went may
                    # be named by more rows than a batch can hold.
                    stale = self._find_stale_tables(views, pending=0)
                    if "silver" in stale:
                        self._rebuild_silver(run, change, now_ms)
            self._rebuild_research(run, change, views, stale, now_ms)
            if _OMOP in stale:
                self._rebuild_omop(run, change, now_ms)
        if change.rebuilt:
            self._close_tables()
        if bring_up_notes(self.lake, self._layout(), self._key, now_ms):
            change.written.add(NOTES_TABLE)
        self._note_refresh(change.written | change.dropped)
        return change

    def send_refreshes(self, send: SendRecords) -> int:
        """Put what the tables have become on record at the gateway; return how many records."""
        return send_refreshes(self.lake, send)

    def erase(self, hashes: Collection[str], now_ms: int) -> LakeErasure:
        """Erase patients, known by keyed hashes, from every table and every old file.

        The lines that tell of it are applied after it, so a crash lets it be done again.
        """
        key = self._read_erasure_key()
        if key is None:
            raise NotFound(
                "The feed tells of an erasure, and the key of erasures is not there: it is in the "
                "folder of keys of the data folder."
            )
        clear_leftovers(self.lake)
        # It may write every table.
        self._is_compared = False
        erasure = find_erased(self.lake, key, hashes)
        erase_from_lake(self.lake, erasure, self._key)
        self._close_tables()
        if erasure.patients:
            self._redo_others(erasure, now_ms)
        erase_from_bronze(self.lake, erasure)
        self._close_tables()
        return erasure

    def _redo_others(self, erasure: LakeErasure, now_ms: int) -> None:
        """Work out anew what others' rows said of the patient: a duplicate, a lost reference.

        Bronze still has every line, so an erasure that was cut short finds the same records.
        """
        views = list_gold_views(self.lake)
        stale = self._find_stale_tables(views, pending=0)
        if "silver" in stale:
            self._progress = forget_tables(self.lake)
            return
        others = find_others(self.lake, self._layout(), erasure)
        lines = read_lines_of_others(self.lake, erasure, self._progress.sequence)
        writer = self._batch_writer(TableChange(now_ms), views, stale, is_careful=True)
        for start in range(0, max(len(lines), 1), _BATCH_VERSIONS):
            batch = Batch(lines=lines[start : start + _BATCH_VERSIONS], judged=others)
            writer.apply(batch)
            others = frozenset()
            if writer.is_silver_stale:
                self._progress = forget_tables(self.lake)
                return

    def rebuild(self, table: str, now_ms: int) -> TableChange:
        """Make a table anew from its input, and what is made of it."""
        views = list_gold_views(self.lake)
        known = {"silver", "deid", *map(gold_table_name, views)}
        if load_state(self.lake) is not None:
            known.add(_OMOP)
        if table not in known:
            names = ", ".join(sorted(known))
            raise NotFound(f"The lake makes no table {table!r} anew. It makes: {names}.")
        digests = {name: digest for name, digest in self._progress.digests.items() if name != table}
        self._save(replace(self._progress, digests=digests))
        return self.bring_up(now_ms)

    def build_omop(self, now_ms: int) -> TableChange:
        """Make the OMOP tables; from now on every change is followed into them."""
        self._require_tables()
        if load_state(self.lake) is None:
            save_state(self.lake, OmopState())
        create_omop_tables(self.lake)
        return self.rebuild(_OMOP, now_ms)

    def build_notes(self, now_ms: int) -> int:
        """Make the table of scrubbed notes; return how many there are.

        From now on every change is followed into it.
        """
        self._require_tables()
        keep_notes(self.lake)
        self.bring_up(now_ms)
        return count_rows(self.lake, NOTES_TABLE)

    def remap_omop(self, now_ms: int) -> TableChange:
        """Look every code up in the vocabulary as it is loaded now; write the rows that change."""
        self._require_tables()
        state = load_state(self.lake)
        if state is None or _OMOP not in self._progress.digests:
            return self.build_omop(now_ms)
        change = TableChange()
        digest = omop_digest(state, deid_digest(self._key))
        if self._progress.digests[_OMOP] != digest:
            writer = OmopWriter(self.lake, self._layout(), state, now_ms)
            writer.remap()
            change.written |= writer.written
            self._save_digest(_OMOP, digest)
            self._note_refresh(change.written)
        return change

    def check_quality(self, change: TableChange) -> tuple[TableQuality, ...]:
        """Check the gold tables, where one was written, and keep the results."""
        views = [view for view in list_view_names() if self.lake.has_table(gold_table_name(view))]
        kept = read_quality_results(self.lake)
        changed = {view for view in views if gold_table_name(view) in change.written}
        is_same = not changed and "quarantine" not in change.written and not change.silver.taken
        if is_same and kept:
            return kept
        known = {quality.table: quality for quality in kept}
        missing = [view for view in views if view in changed or view not in known]
        checked = {quality.table: quality for quality in check_gold_tables(self.lake, missing)}
        quality = (
            summarize_silver(self.lake),
            *(checked.get(view) or known[view] for view in views),
        )
        write_quality_results(self.lake, quality)
        append_scores(
            self.lake,
            change.at_ms,
            change.silver,
            tuple(checked.values()),
            is_anew="silver" in change.rebuilt,
        )
        return quality

    def maintain(
        self, retention_hours: int, now_ms: int, *, is_thorough: bool = True
    ) -> tuple[str, ...]:
        """Compact tables that grow by small files, and delete old files; return which tables.

        Upkeep that is not thorough deletes old files alone: it costs some hundredths of a second.
        """
        upkeep = maintain_tables(
            self.lake,
            self._progress.maintained,
            retention_hours=retention_hours,
            now_ms=now_ms,
            is_thorough=is_thorough,
            is_first=not self._is_maintained,
        )
        self._is_maintained = True
        # It shortens their logs.
        self._close_tables()
        if upkeep.tables:
            self._save(replace(self._progress, maintained=dict(upkeep.versions)))
            if is_thorough:
                self._note_refresh({*upkeep.tables})
        return upkeep.tables

    def seconds_until_due(self, now_ms: int) -> float:
        """Return in how many seconds the next term of a decision begins or ends."""
        self._find_due_patients(now_ms)
        return max(0.0, ((self._due_ms or now_ms) - now_ms) / 1000)

    def count_rows(self) -> dict[str, int]:
        """Return how many rows each table has."""
        views = map(gold_table_name, list_gold_views(self.lake))
        notes = [NOTES_TABLE] if has_notes(self.lake) else []
        names = ("bronze", "silver", "quarantine", "deid", *views, *notes)
        return {name: count_rows(self.lake, name) for name in names if self.lake.has_table(name)}

    def _require_tables(self) -> None:
        if not self._progress.buckets:
            raise NotFound("The lake is empty: run `ehr lake run` first.")

    def _close_tables(self) -> None:
        """Let every table be opened anew: its log is another than the one that was read."""
        self._open_lake = self.lake.keep_tables_open()

    def _note_refresh(self, written: Collection[str]) -> None:
        """Keep a record of the new versions; of all tables the first time, lest one is left out."""
        names = written if self._is_compared else None
        if names is None or names:
            note_refresh(self._open_lake, self._progress, self.cursor, names)
            self._is_compared = True

    def _layout(self) -> Layout:
        return Layout(self._progress.buckets, self._key)

    def _save(self, progress: Progress) -> None:
        save_progress(self.lake, progress)
        self._progress = progress

    def _save_digest(self, name: str, digest: str) -> None:
        """Keep by which rules, keys and views a table is made now."""
        self._save(replace(self._progress, digests={**self._progress.digests, name: digest}))

    def _compute_digests(self, views: Mapping[str, ViewDefinition]) -> dict[str, str]:
        deid = deid_digest(self._key)
        digests = {
            "silver": rules_digest(),
            "deid": deid,
            **{gold_table_name(name): view_digest(view, deid) for name, view in views.items()},
        }
        if (state := load_state(self.lake)) is not None:
            digests[_OMOP] = omop_digest(state, deid)
        return digests

    def _find_stale_tables(self, views: Mapping[str, ViewDefinition], pending: int) -> set[str]:
        """Return the tables to make anew: by other rules than now, or with very much to change."""
        wanted = self._compute_digests(views)
        stale = {
            name for name, digest in wanted.items() if self._progress.digests.get(name) != digest
        }
        rows = count_rows(self._open_lake, "silver")
        is_much = pending > _REBUILD_LINES and pending > _REBUILD_PART * rows
        is_crowded = rows > _CROWDED * ROWS_PER_BUCKET * self._progress.buckets
        if is_much or is_crowded or not self._progress.buckets:
            stale.add("silver")
        # Digests of gold tables contain that of deid.
        return set(wanted) if "silver" in stale else stale

    def _begin_empty(self, views: Mapping[str, ViewDefinition], pending: int, now_ms: int) -> None:
        """Begin a small lake: tables without rows are made by whatever rules."""
        for view in views.values():
            create_gold_table(self.lake, view)
        buckets = max(_FEWEST_BUCKETS, pending // ROWS_PER_BUCKET)
        self._save(replace(self._progress, buckets=buckets, digests=self._compute_digests(views)))
        if (omop := self._omop_writer(set(), now_ms)) is not None:
            create_omop_tables(self.lake)
            omop.write_fixed_tables()

    def _rebuild_silver(self, run: RunParts, change: TableChange, now_ms: int) -> None:
        lines = self.cursor.sequence
        buckets = max(_FEWEST_BUCKETS, lines // ROWS_PER_BUCKET)
        # From here on, until it is done, no table counts as made by any rules.
        self._save(Progress(buckets=buckets))
        clear_steward_decisions(self.lake)
        self._take_in_steward_decisions()
        change.silver = rebuild_silver(
            run, self._runner.slots, self.lake, self._layout(), up_to=lines, now_ms=now_ms
        )
        change.written |= set(SILVER_TABLES)
        change.rebuilt.append("silver")
        digests = {"silver": rules_digest()}
        self._save(replace(self._progress, sequence=lines, digests=digests))
        self._due_ms = None

    def _rebuild_research(
        self,
        run: RunParts,
        change: TableChange,
        views: Mapping[str, ViewDefinition],
        stale: set[str],
        now_ms: int,
    ) -> None:
        """Make deid and gold tables anew, those whose rules or input are others now."""
        names = stale - {"silver", _OMOP, *change.dropped}
        if not names:
            return
        wanted = self._compute_digests(views)
        by_table = {gold_table_name(name): view for name, view in views.items()}
        for made in rebuild_research(
            run,
            self._runner.slots,
            self.lake,
            self._layout(),
            key=self._key if "deid" in names else None,
            views=[view for name, view in by_table.items() if name in names],
            now_ms=now_ms,
        ):
            change.closed.add(made.closed)
            if made.error is not None:
                with drop_table_on_failure(self.lake, by_table[made.name], change.dropped):
                    raise made.error
                continue
            change.written.add(made.name)
            change.rebuilt.append(made.name)
            self._save_digest(made.name, wanted[made.name])

    def _rebuild_omop(self, run: RunParts, change: TableChange, now_ms: int) -> None:
        """Make the OMOP tables anew from deid."""
        state = load_state(self.lake)
        assert state is not None  # noqa: S101 - its digest is wanted
        slots = self._runner.slots
        change.written |= rebuild_omop(run, slots, self.lake, self._layout(), state, now_ms)
        change.rebuilt.append(_OMOP)
        self._save_digest(_OMOP, omop_digest(state, deid_digest(self._key)))

    def _omop_writer(self, stale: set[str], now_ms: int) -> OmopWriter | None:
        """Return what follows changes into the OMOP tables; None without them, or if made anew."""
        state = load_state(self.lake)
        if state is None or _OMOP in stale:
            return None
        return OmopWriter(self.lake, self._layout(), state, now_ms)

    def _take_in_steward_decisions(self) -> frozenset[str]:
        """Keep what stewards decided, before any version is judged; return of which records.

        In whatever order a decision and its version come, the version is judged by it.
        """
        lake, progress = self._open_lake, self._progress
        lines = read_decision_lines(lake, progress.sequence, self.cursor.sequence)
        told = (parse_line(line) for line in lines if '"quality"' in line)
        return write_steward_decisions(lake, self._layout(), told)

    def _apply_batches(
        self,
        change: TableChange,
        views: Mapping[str, ViewDefinition],
        stale: set[str],
        judged: frozenset[str],
        due: set[str],
    ) -> None:
        is_careful, self._is_cut_short = self._is_cut_short, True
        writer = self._batch_writer(change, views, stale, is_careful=is_careful)
        if judged or due:
            writer.apply(Batch(judged=judged, due_patients=due))
        numbered = read_lines(self._open_lake, self._progress.sequence, self.cursor.sequence)
        for lines in _cut_into_batches(numbered):
            writer.apply(Batch(lines=lines))
            if any(line.kind == "rules" and line.id == EVERYBODY for _, line in lines):
                known = self._progress.digests.items()
                digests = {name: digest for name, digest in known if name == "silver"}
                self._save(replace(self._progress, digests=digests))
            # Only what was cut short may have changed more than is known: the first batch again.
            writer.is_careful = False
            if writer.is_silver_stale:
                self._save(replace(self._progress, digests={}))
            self._save(replace(self._progress, sequence=lines[-1][0]))
        self._due_ms, self._is_cut_short = None, False

    def _batch_writer(
        self,
        change: TableChange,
        views: Mapping[str, ViewDefinition],
        stale: set[str],
        *,
        is_careful: bool,
    ) -> BatchWriter:
        # What is stale is made anew afterwards; a user's new table may not have the lake's columns.
        current = {name: view for name, view in views.items() if gold_table_name(name) not in stale}
        return BatchWriter(
            lake=self._open_lake,
            layout=self._layout(),
            key=self._key,
            now_ms=change.at_ms,
            rules=load_quality_rules(),
            views=current,
            omop=self._omop_writer(stale, change.at_ms),
            is_careful=is_careful,
            silver=change.silver,
            written=change.written,
            dropped=change.dropped,
            closed=change.closed,
        )

    def _find_due_patients(self, now_ms: int) -> set[str]:
        """Return the patients with a rule whose term began or ended since it was looked at."""
        if self._due_ms is not None and now_ms < self._due_ms:
            return set()
        table = self._open_lake.open_table("decisions").to_pyarrow_dataset()
        rows = table.to_table(
            columns=["patient", "changes_ms"], filter=pc.field("changes_ms").is_valid()
        )
        due = rows.filter(pc.less_equal(rows.column("changes_ms"), pa.scalar(now_ms, pa.int64())))
        if not due.num_rows:
            earliest = pc.min(rows.column("changes_ms")).as_py()
            self._due_ms = 2**62 if earliest is None else int(earliest)
        return set(due.column("patient").to_pylist())


def forget_tables(lake: Lake) -> Progress:
    """Let the next run make every table anew from bronze."""
    progress = replace(load_progress(lake), digests={})
    save_progress(lake, progress)
    return progress


def _cut_into_batches(
    numbered: Iterator[tuple[int, str]],
) -> Iterator[list[tuple[int, FeedLine]]]:
    lines: list[tuple[int, FeedLine]] = []
    patients = 0
    for sequence, text in numbered:
        line = parse_line(text)
        lines.append((sequence, line))
        patients += line.kind == "rules"
        if len(lines) == _BATCH_VERSIONS or patients == _BATCH_PATIENTS:
            yield lines
            lines, patients = [], 0
    if lines:
        yield lines
