"""The sample: real Synthea patients, placed in a fictional Hong Kong."""
