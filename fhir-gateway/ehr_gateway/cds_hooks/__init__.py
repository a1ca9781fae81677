"""CDS Hooks 2.0: decision support at the moment of care, under the caller's rights.

In: a hook with the patient and what is about to be ordered.
Out: cards made of the records that the asking clinician may see, and of no others; what became of
them is kept.
May import: http, oauth, access_requests and what is below.
"""
