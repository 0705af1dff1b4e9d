"""The REST API for operators: sessions, turns, tenants, instances, cron."""
