"""The bench of the gateway: workload, servers, load tools, tables."""
