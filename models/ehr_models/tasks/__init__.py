"""The prediction tasks, one folder each."""
