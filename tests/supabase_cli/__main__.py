"""Install it, before the tests ask for it: `python -m tests.supabase_cli`."""

from pathlib import Path

from tests.supabase_cli import supabase_cli

print(f"Supabase's command line is {supabase_cli(Path.home()).program}")  # noqa: T201 - a command
