"""Analyses of a cohort: each gives cells with the persons behind them, never a finished table."""
