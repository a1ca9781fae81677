"""Deterioration on the ward: rounds of vital signs, what followed, and how alerts would have gone.

In: FHIR resources of identified records, or a simulation (`simulation`), as `WardTables`.
Out: a frame with a row per round (`rounds`), and measures of alerts (`alerts`).
It works inside the trusted zone alone: times are to the minute, which de-identification takes away.
May import: scores, task.
"""
