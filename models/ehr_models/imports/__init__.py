"""Imports: tables of one's own, to learn a task from instead of the lake.

In: a flat table (CSV, Parquet) with a mapping file; or a folder of OMOP CDM 5.4 tables.
Out: `<data>/models/imports/NAME/`: a frame, or the views that a task reads, and what they are.
They hold rows of another source and no patient of this platform: erasing one, and a consent,
reach no import.
"""
