"""Outbound HTTP to URLs that tenants set: never into the deployment's own network."""
