"""The FHIR client: every question the portal asks the gateway, with one person's token.

In: a resource type, an operation, a Parameters resource to send. Out: resources, search results,
operation outcomes as errors of `ehr_fhir.errors`. No text for readers and no page.
May import `ehr_fhir` and nothing of the portal.
"""
