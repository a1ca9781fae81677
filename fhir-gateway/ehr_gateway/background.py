"""What a process of the gateway does beside answering: its threads, and how it is tuned."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import cache, partial

import anyio.to_thread

from ehr_gateway.audit_log.lineage import record_new_lineage
from ehr_gateway.audit_log.service import AuditLog
from ehr_gateway.audit_log.timer import Timer
from ehr_gateway.erasure.finish import finish_erasures
from ehr_gateway.gateway import Gateway
from ehr_gateway.notices.channels import open_channels
from ehr_gateway.notices.delivery import DeliveryWorker
from ehr_gateway.patient_matching.duplicates import find_new_duplicates
from ehr_gateway.store.reindex import ReindexThread
from ehr_gateway.subscriptions.delivery import SubscriptionWorker
from ehr_gateway.subscriptions.services import open_services
from ehr_gateway.thread_admission import WORK_THREADS

__all__ = ["BackgroundWork", "create_background_work", "tune_process"]

# Of the pool that runs handlers: those that requests are admitted to, and some for what is not
# admitted but must be done, such as reading the revocations. Chosen.
_POOL_THREADS = WORK_THREADS + 2
# How long an audit row may wait in its spool file, where no query finds it, before it is flushed.
_FLUSH_SECONDS = 1.0
# Entries of the journal that are not resolved are in doubt for a restore, which then closes the
# whole store. Chosen: short, since it bounds what a crash leaves in doubt.
_RESOLVE_SECONDS = 1.0
# How soon after its approval an erasure's files are written anew, and how soon after a crash.
# Chosen: one look reads one index entry.
_ERASURE_SECONDS = 5.0
# New objects before the collector looks for cycles; Python's own 700 is for programs that make
# more cycles than requests do, and each look costs a pause.
_NEW_OBJECTS_PER_COLLECTION = 10_000


@dataclass(frozen=True)
class BackgroundWork:
    """The threads of one process."""

    reindexing: ReindexThread
    deliveries: DeliveryWorker
    subscriptions: SubscriptionWorker
    timers: tuple[Timer, ...]

    def start(self) -> None:
        """Start every thread."""
        self.reindexing.start()
        self.deliveries.start()
        self.subscriptions.start()
        for timer in self.timers:
            timer.start()

    def stop(self) -> None:
        """End every thread; each timer does its work once more."""
        self.subscriptions.stop()
        self.deliveries.stop()
        self.reindexing.stop()
        for timer in self.timers:
            timer.stop()


def create_background_work(gateway: Gateway, log: AuditLog) -> BackgroundWork:
    """Make the threads of a process; none runs yet."""
    settings, store = gateway.settings, gateway.store
    deliveries = DeliveryWorker(
        store,
        open_channels(settings.notices, settings.data / "notices"),
        log.spool.flush,
        secret=gateway.form_secret,
        address=settings.base_url,
        clock=gateway.clock,
    )
    timers = (
        Timer("row into the audit log", log.spool.flush_if_idle, _FLUSH_SECONDS),
        Timer(
            "step of research or decision about a model in the audit log",
            partial(_record_steps, gateway),
            _FLUSH_SECONDS,
        ),
        Timer("resolved entries of the journal", store.resolve_journal, _RESOLVE_SECONDS),
        Timer(
            "file written anew after an erasure",
            partial(_finish_erasures, gateway, log),
            _ERASURE_SECONDS,
        ),
        Timer(
            "comparison of Patients that are new or have changed",
            partial(find_new_duplicates, store, gateway.clock),
            settings.duplicates_seconds,
        ),
        Timer("checkpoint of the audit log", log.flush_and_sign, settings.audit_checkpoint_seconds),
    )
    subscriptions = SubscriptionWorker(
        gateway, open_services(settings, gateway.form_secret), settings.subscription_seconds
    )
    return BackgroundWork(ReindexThread(store), deliveries, subscriptions, timers)


def _record_steps(gateway: Gateway) -> None:
    database, clock = gateway.store.database, gateway.clock
    if gateway.releases is not None:
        record_new_lineage(database, gateway.releases, clock)
    if gateway.models is not None:
        record_new_lineage(database, gateway.models.decisions, clock, program="models")


def _finish_erasures(gateway: Gateway, log: AuditLog) -> None:
    finish_erasures(gateway.store, gateway.settings, log.spool, gateway.clock())


def tune_process() -> None:
    """Set the size of the event loop's thread pool and the pace of the garbage collector."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = _POOL_THREADS
    _settle_memory()


@cache
def _settle_memory() -> None:
    # What was made until now stays as long as the process: collections need not visit it. Once in
    # a process only: a later gateway would make what an earlier one left behind stay as well.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION)
