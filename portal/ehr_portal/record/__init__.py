"""A patient's record as pages show it: sections, rows, trends, charts, names of codes.

In: FHIR resources from `gateway`. Out: frozen values a template prints, in the reader's language.
It knows no request and no session.
May import `gateway` and `i18n`.
"""
