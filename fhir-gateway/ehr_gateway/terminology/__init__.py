"""Code systems in tables of their own: loaded whole, asked by SQL.

In: concepts of a file, with what is above each; a connection.
Out: a `CodeSystem` as `ehr_fhir.terminology` asks it.
May import: database.
"""
