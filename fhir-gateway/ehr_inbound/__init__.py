"""What brings data in as a client of the gateway: bulk files; HL7 v2 has its place here too.

In: files or messages of other systems.
Out: versions in the store, rejects by line.
May import: ehr_gateway and what is below.
"""
