"""The patient's FHIR Consents: parsed into switches and restrictions, planned into writes.

In: Consents as the gateway stores them, and the choices of a form. Out: what a page shows, and the
Consents to write. Pure: the gateway turns Consents into rules; nothing is decided here.
May import `record`, `gateway` and `i18n`.
"""
