"""The process that carries imports out, started by the server: `ImportProcess`."""

from __future__ import annotations

import sys
import time
from contextlib import closing

from ehr_cli.data_folder import gateway_settings
from ehr_cli.server.companion import end_with_parent
from ehr_cli.settings import load_settings
from ehr_fhir.errors import Unavailable
from ehr_gateway.access_requests.record_changes import tell_consequence
from ehr_gateway.erasure.erased_patients import watch_erased_ids
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_imports.run import run_waiting_imports


def main() -> None:
    """Carry out what waits; end with the server."""
    end_with_parent()
    settings = gateway_settings(load_settings())
    with closing(Store(settings.database, settings.data)) as store:
        store.tell_consequence = tell_consequence
        store.attach_journal(settings.journal_folder, settings.keys)
        watch_erased_ids(store, settings.keys)
        try:
            run_waiting_imports(store, settings, lambda: time.time_ns() // 1_000_000)
        except Unavailable as error:
            # The server starts another process in a while.
            sys.exit(f"Imports wait: {error}")


if __name__ == "__main__":
    main()
