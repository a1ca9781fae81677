"""Errors of disks and folders as errors of the product: full, read-only, not this user's."""

from __future__ import annotations

import errno
import os
import sqlite3

from ehr_fhir.errors import EhrError, Unavailable
from ehr_gateway.database.sqlite_errors import translate_error
from ehr_gateway.incidents import Incidents

__all__ = ["translate_disk_fault"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})


def translate_disk_fault(error: BaseException) -> EhrError | None:
    """Return what to tell the operator of an error; None if it is no matter of a disk.

    >>> str(translate_disk_fault(OSError(errno.ENOSPC, "No space left on device", "var/x")))
    'The disk is full: var/x cannot be written. Free some space and run the command again.'
    """
    if isinstance(error, sqlite3.OperationalError):
        translated = translate_error(error, Incidents())
        return translated if isinstance(translated, EhrError) else None
    if not isinstance(error, OSError):
        return None
    # Paths are the operator's own words; no value of a record is part of one.
    place = str(error.filename or "a file")
    if error.errno in _FULL:
        advice = "Free some space and run the command again."
        return Unavailable(f"The disk is full: {place} cannot be written. {advice}")
    if error.errno in _READ_ONLY:
        reason = os.strerror(error.errno)
        advice = "This command needs to: run it as the folder's owner, where it is not read-only."
        return Unavailable(f"{place} cannot be written or read ({reason}). {advice}")
    if error.errno in _OUT_OF_FILES:
        return Unavailable("Too many files are open: raise the limit (`ulimit -n`).")
    return None
