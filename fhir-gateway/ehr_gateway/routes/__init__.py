"""The addresses the gateway serves: each parses, calls one interaction, renders."""
