"""The audit log of a running gateway: its folder, its key, and the checkpoint on request."""

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
    """One log: where it is, what is on its way into it, who signs for it."""

    database: Database
    folder: LogFolder
    spool: Spool
    signer: Signer
    clock: Callable[[], int]

    def flush_and_sign(self) -> Checkpoint | None:
        """Sign for what is there, None when another process is at it; flag what is unusual."""
        self.spool.flush()
        try:
            return sign_checkpoint(self.database, self.folder, self.signer, self.clock)
        finally:
            flag_anomalies(self.database, self.clock)


def open_audit_log(
    settings: GatewaySettings, database: Database, clock: Callable[[], int]
) -> AuditLog:
    """Open the log of a gateway; its key is made when there is none."""
    signer = open_signer(settings.keys, settings.audit_origin)
    spool = Spool(settings.audit_spool, database)
    return AuditLog(database, LogFolder(settings.audit_folder), spool, signer, clock)


def audit_log_of(request: Request) -> AuditLog:
    """Return the log of the application that serves a request."""
    log: AuditLog = request.app.state.audit_log
    return log
