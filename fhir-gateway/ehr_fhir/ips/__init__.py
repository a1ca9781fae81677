"""The International Patient Summary (HL7 IPS 2.0.0): a document made of one person's records.

In: a Patient, its records and what they refer to, as parsed JSON.
Out: a document Bundle; the faults of one against the guide.
May import: dates, narrative, references and what is below.
"""
