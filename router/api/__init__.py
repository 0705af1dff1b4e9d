"""The REST API for the people who run HybridFlow: sessions, turns, tenants, instances, cron."""
