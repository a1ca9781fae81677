"""Compare two descriptions of a person, and say how likely they are of one (`Patient/$match`).

In: Patients as JSON.
Out: the searches that find who may be the same person; a probability and a grade for each; pairs
for the steward's worklist.
May import: search, store and what is below.
"""
