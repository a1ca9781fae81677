"""Decisions about people: consent, de-identification, disclosure control. Pure."""
