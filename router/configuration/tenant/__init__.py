"""A tenant's settings, by what they are about; all together in tenant_settings.py."""
