"""Sandbox for a researcher's own Python code: a process that reaches nothing but its tables."""
