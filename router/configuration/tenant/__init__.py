"""A tenant's settings, one module for each topic. tenant_settings.py puts them together."""
