"""The sample: committed Synthea patients placed in a fictional Hong Kong, and who may log in.

In: the lines in `synthea/`, the names in `hong_kong.toml`. Out: FHIR resources, always the same.
May import nothing else of the command line.
"""
