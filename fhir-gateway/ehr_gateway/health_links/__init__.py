"""SMART Health Links: a patient gives a summary to somebody without an account here.

In: what the patient chooses; the address of a link with the passcode that its receiver types.
Out: the link with its key, told once; its encrypted files; the log of who opened it.
May import: patient_summary, access_requests and what is below.
"""
