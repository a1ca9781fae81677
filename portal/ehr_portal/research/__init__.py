"""Research work: cohorts and studies as forms and as text, runs, releases. Pure.

What comes in: fields of forms, and the gateway's answers. What goes out: TOML of the cohort
language (docs/reference/cohorts.md), values for pages, drawings.
"""
