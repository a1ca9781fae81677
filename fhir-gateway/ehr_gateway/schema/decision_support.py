"""Tables of decision support: which card was shown to whom about whom, and what became of it."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

# A card's text is not kept: it may tell what the record tells.
Table(
    "cds_card",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("service", TEXT, nullable=False),
    # What made it, such as a version of a model.
    Column("version", TEXT, nullable=False),
    Column("patient", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("client", TEXT, nullable=False),
    Column("shown_ms", INTEGER, nullable=False),
    # accepted or overridden; null until somebody tells.
    Column("outcome", TEXT),
    # The code of the reason for overriding it, and the clinician's words.
    Column("reason", TEXT),
    Column("comment", TEXT),
    Column("outcome_ms", INTEGER),
    Index("cds_card_patient", "patient"),
    Index("cds_card_shown", "service", "shown_ms"),
)
