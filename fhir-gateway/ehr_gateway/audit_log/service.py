"""The audit log of a running gateway: database, exported folder, spool and signing key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from ehr_gateway.audit_log.anomalies import flag_anomalies
from ehr_gateway.audit_log.checkpoint_key import open_signer
from ehr_gateway.audit_log.checkpoints import sign_checkpoint
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.audit_log.spool import Spool
from ehr_gateway.database import Database
from ehr_gateway.settings import GatewaySettings
from ehr_privacy.audit import Checkpoint, Signer

__all__ = ["AuditLog", "audit_log_of", "open_audit_log"]


@dataclass(frozen=True)
class AuditLog:
    """The parts of one audit log."""

    database: Database
    folder: LogFolder
    spool: Spool
    signer: Signer
    clock: Callable[[], int]

    def sign(self) -> Checkpoint | None:
        """Flush spooled rows and sign a checkpoint.

        Returns the checkpoint, or None if another process holds the lock.
        """
        self.spool.flush()
        return sign_checkpoint(self.database, self.folder, self.signer, self.clock)

    def flush_and_sign(self) -> Checkpoint | None:
        """Sign a checkpoint, then run the anomaly rules.

        The rules read tables that a store of an older version does not have.
        """
        try:
            return self.sign()
        finally:
            flag_anomalies(self.database, self.clock)


def open_audit_log(
    settings: GatewaySettings, database: Database, clock: Callable[[], int]
) -> AuditLog:
    """Open the log of a gateway; generate its key if there is none."""
    signer = open_signer(settings.keys, settings.audit_origin)
    spool = Spool(settings.audit_spool, database)
    return AuditLog(database, LogFolder(settings.audit_folder), spool, signer, clock)


def audit_log_of(request: Request) -> AuditLog:
    """Return the audit log of the application that serves a request."""
    log: AuditLog = request.app.state.audit_log
    return log
