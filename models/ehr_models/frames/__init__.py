"""Frames: what a model learns from and scores, point in time, from one declaration.

In: a declaration in the cohort language, and tables. Out: a `Frame`, a row per index date.
`duckdb_frame` works it out of whole tables in SQL, for training and scoring.
"""
