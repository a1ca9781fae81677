"""The store of a data folder, for commands of research and of models.

Who may take a step that `--as` names, whose decisions the lake may not have heard of yet, and what
the audit log knows of decisions about models.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ehr_analytics.people import Person
from ehr_cli.data_folder import gateway_settings
from ehr_cli.model_decisions import LoggedDecisions, record_decisions
from ehr_cli.settings import load_settings
from ehr_fhir.errors import Forbidden, NotFound
from ehr_gateway.accounts.accounts import find_account, list_names_of_person
from ehr_gateway.oauth.offline_tokens import now_ms
from ehr_gateway.store.store import Store

__all__ = ["find_person", "open_changes", "read_model_decisions"]


def find_person(data: Path, login: str, roles: Collection[str]) -> Person:
    """Return the person of an enabled account, with the names of all accounts of theirs.

    Raises NotFound without such an account, Forbidden if it is of none of the roles.
    """
    with _open_store(data) as store:
        try:
            account = find_account(store.database, login)
        except NotFound as error:
            raise NotFound(f"There is no enabled account {login!r}.") from error
        if account.role not in roles:
            raise Forbidden(
                f"The account {login} is of a {account.role}: this step is for "
                f"{', '.join(sorted(roles))}."
            )
        with store.read_transaction() as connection:
            names = list_names_of_person(connection, login)
    # As tokens name them, so that a step by a command and one in the portal are one person's.
    return Person(account.person or account.login, names)


@contextmanager
def open_changes(data: Path) -> Iterator[Callable[[int, str], list[tuple[str, str]]]]:
    """Open what tells whose decision changed after a number: `Store.list_changed_subjects`."""
    with _open_store(data) as store:
        yield store.list_changed_subjects


def read_model_decisions(data: Path) -> Sequence[Mapping[str, Any]]:
    """Return the decisions about models that the audit log has, told of all there are."""
    with _open_store(data) as store:
        record_decisions(store.database, data, now_ms)
        return LoggedDecisions(store.database).read_decisions()


@contextmanager
def _open_store(data: Path) -> Iterator[Store]:
    settings = gateway_settings(load_settings().override(data=data))
    if isinstance(settings.database, Path) and not settings.database.exists():
        # Opening it would make an empty platform where a folder was mistyped.
        raise NotFound(
            f"There is no platform in {data}, and --as names an account of one: `ehr account add`."
        )
    with closing(Store(settings.database, settings.data)) as store:
        yield store
