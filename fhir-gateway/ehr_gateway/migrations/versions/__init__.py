"""The revisions, one file each; `ehr_gateway.migrations` tells how to add one."""
