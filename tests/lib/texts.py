"""The portal's texts and catalogues: `python -m tests.lib.texts` brings them up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po, write_po

import ehr_portal
from ehr_portal.i18n import LANGUAGES

PACKAGE = Path(ehr_portal.__file__).parent
CATALOGUES = [language.catalogue for language in LANGUAGES if language.catalogue]


def extract_messages() -> list[str | tuple[str, ...]]:
    """Return every text that templates and modules mark, a plural as a pair, file by file."""
    with (PACKAGE.parent / "babel.cfg").open() as file:
        # Babel ships no types for its front end.
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    extracted = extract_from_dir(
        PACKAGE, methods, options, keywords={"N_": None, "_": None, "ngettext": (1, 2)}
    )
    return [message for _, _, message, _, _ in extracted]


def catalogue_path(name: str) -> Path:
    """Return the file of a catalogue."""
    return PACKAGE / "locale" / name / "portal.po"


def read_catalogue(name: str) -> Catalog:
    """Return a catalogue as it is on disk."""
    with catalogue_path(name).open("rb") as file:
        return read_po(file, locale=name)


def update_catalogue(name: str) -> list[str]:
    """Add new texts to a catalogue, take out those that are gone; return what is untranslated."""
    template, catalogue = Catalog(), read_catalogue(name)
    for message in extract_messages():
        template.add(message)
    created = catalogue.creation_date
    catalogue.update(template, no_fuzzy_matching=True)
    # The file changes with its texts alone.
    catalogue.creation_date = created
    catalogue.obsolete.clear()
    with catalogue_path(name).open("wb") as file:
        write_po(file, catalogue, width=0, no_location=True)
    return [str(message.id) for message in catalogue if message.id and not message.string]


if __name__ == "__main__":
    for catalogue_name in CATALOGUES:
        for text in update_catalogue(catalogue_name):
            sys.stdout.write(f"{catalogue_name}: untranslated: {text}\n")
