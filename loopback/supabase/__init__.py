"""A Supabase project on loopback: its gateway, and PostgREST over a real PostgreSQL."""

from loopback.supabase.project import Supabase

__all__ = ["Supabase"]
