"""The way out to addresses that tenants set: never into the deployment's own network."""
