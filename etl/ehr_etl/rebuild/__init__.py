"""Tables made anew from all their input, each written beside the old one and switched by a commit.

In: bronze and the stewards' decisions for silver; silver and decisions for deid and gold.
Out: the tables, equal row by row to what batches of changes give.
May import: gold, tables, and the rooms below.
"""
