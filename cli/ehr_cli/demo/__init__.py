"""`ehr demo`: the whole way once, from a hospital's records to a research result and back."""
