"""Who may use the API: `python -m scripts.operators keys|new-key|revoke-key|members|…|audit`.

It works on the configured database through the same SQL functions as the REST API. Exit code 0:
done; 1: not done, with the reason and the fix on stderr; 2: the command was not understood.
"""

import argparse
import getpass
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from router.api.bound_database import CallersDatabase
from router.configuration.settings import Settings
from router.gate.identity import make_api_key, script_caller
from router.state.calls import api_keys, audit, members
from router.state.calls.api_keys import ApiKey
from router.state.calls.tenants import GetTenant, get_tenant
from router.state.database import Database
from router.state.pages import all_items
from scripts.running import called, run

_ROLES = ("viewer", "operator", "admin")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    given = _parser().parse_args(arguments)

    async def work(_: Settings, state: Database) -> int:
        database = as_script(state)
        match given.command:
            case "new-key":
                return await new_key(database, given)
            case "revoke-key":
                return await revoke_key(database, given.id)
            case "members":
                return await show_members(database, given.instance)
            case "set-member":
                return await set_member(database, given)
            case "remove-member":
                return await remove_member(database, given)
            case "audit":
                return await show_audit(database, given)
            case _:
                return await show_keys(database)

    return run(work)


def as_script(state: Database) -> CallersDatabase:
    """Return the state for the user of this computer, who may do everything; calls are audited."""
    return CallersDatabase(state, script_caller(getpass.getuser()))


async def new_key(database: Database, given: argparse.Namespace) -> int:
    """Create a key and show it; it is never shown again."""
    new = make_api_key()
    tenants = [await _tenant_id(database, name) for name in given.tenant]
    days = given.days
    asked = api_keys.CreateApiKey(
        name=given.name,
        role=given.role,
        tenant_ids=None if given.every_tenant else tuple(tenants),
        expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
        key_hash=new.key_hash,
        starts_with=new.starts_with,
    )
    kept = (await api_keys.create_api_key(database, asked)).api_key
    print(new.key.get_secret_value())
    print(f"This is key {kept.id}, {given.role} of {_reach(kept)}. It is not shown again: only")
    print("its hash is kept. Show it as X-API-Key or as Authorization: Bearer.")
    return 0


async def show_keys(database: Database) -> int:
    """List the keys: their names and how long they are valid, never the keys themselves."""
    first = api_keys.ListApiKeys()
    keys = [key async for key in all_items(api_keys.list_api_keys, database, first)]
    if not keys:
        print("There are only the keys of API_KEYS: python -m scripts.operators new-key NAME …")
    for key in keys:
        used = f"used {to_the_minute(key.last_used_at)}" if key.last_used_at else "never used"
        print(
            f"{key.id:>6}  {key.starts_with}...  {key.role:<8}  {_reach(key)}"
            f"  {key.name}  {used}  {_state(key)}"
        )
    return 0


async def revoke_key(database: Database, key_id: int) -> int:
    """Revoke a key."""
    asked = api_keys.RevokeApiKey(api_key_id=key_id)
    revoked = (await api_keys.revoke_api_key(database, asked)).api_key
    print(f"Key {key_id} ({revoked.name}) {_state(revoked)}.")
    return 0


async def show_members(database: Database, instance: str) -> int:
    """List the users of Supabase Auth with a role in a tenant."""
    asked = members.ListMembers(tenant_id=await _tenant_id(database, instance))
    found = (await members.list_members(database, asked)).items
    if not found:
        print(f"{instance} has no member: python -m scripts.operators set-member {instance} …")
    for member in found:
        since = to_the_minute(member.created_at)
        print(f"{member.user_id}  {member.role:<8}  since {since}")
    return 0


async def set_member(database: Database, given: argparse.Namespace) -> int:
    """Give a user a role in a tenant."""
    tenant_id = await _tenant_id(database, given.instance)
    asked = members.SetMember(tenant_id=tenant_id, user_id=given.user_id, role=given.role)
    await members.set_member(database, asked)
    print(f"{given.user_id} is {given.role} of {given.instance} from now on.")
    return 0


async def remove_member(database: Database, given: argparse.Namespace) -> int:
    """Remove a user's role in a tenant."""
    tenant_id = await _tenant_id(database, given.instance)
    asked = members.RemoveMember(tenant_id=tenant_id, user_id=given.user_id)
    removed = (await members.remove_member(database, asked)).removed
    is_now = "is no longer" if removed else "was not"
    print(f"{given.user_id} {is_now} a member of {given.instance}.")
    return 0


async def show_audit(database: Database, given: argparse.Namespace) -> int:
    """List who did what, the newest first."""
    tenant_id = await _tenant_id(database, given.instance) if given.instance else None
    first = audit.ListAudit(tenant_id=tenant_id, limit=min(given.lines, 200))
    shown = 0
    async for line in all_items(audit.list_audit, database, first):
        ids = {
            "tenant_id": line.tenant_id, "session_id": line.session_id, "turn_id": line.turn_id
        }  # fmt: skip
        about = [f"{name}={number}" for name, number in ids.items() if number]
        detail = json.dumps(line.detail, ensure_ascii=False) if line.detail else ""
        who = f"{line.caller_kind} {line.caller}"
        when = f"{line.at:%Y-%m-%dT%H:%M:%S}"
        print("  ".join((when, who, line.action, *about, detail)).rstrip())
        shown += 1
        if shown == given.lines:
            break
    return 0


async def _tenant_id(database: Database, instance: str) -> int:
    return (await get_tenant(database, GetTenant(instance_name=instance))).tenant.id


def to_the_minute(moment: datetime) -> str:
    """Return the time in the format of lists."""
    return f"{moment:%Y-%m-%dT%H:%M}"


def _reach(key: ApiKey) -> str:
    if key.every_tenant:
        return "every tenant"
    return "tenant " + ",".join(str(tenant_id) for tenant_id in key.tenant_ids or ())


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"was revoked {to_the_minute(key.revoked_at)}"
    if key.expires_at:
        until = to_the_minute(key.expires_at)
        return f"{'holds until' if key.is_active else 'is over since'} {until}"
    return "holds"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=called("scripts.operators"), description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("keys", help="list the keys of the API")

    making = commands.add_parser("new-key", help="create a key, and show it once")
    making.add_argument("name", help="who or what uses it")
    making.add_argument("--role", required=True, choices=_ROLES)
    reach = making.add_mutually_exclusive_group(required=True)
    reach.add_argument(
        "--tenant", action="append", default=[], metavar="INSTANCE", help="may be repeated"
    )
    reach.add_argument("--every-tenant", action="store_true", help="all tenants, also future ones")
    making.add_argument("--days", type=_days, help="days until it expires (default: never)")

    revoking = commands.add_parser("revoke-key", help="refuse a key from now on")
    revoking.add_argument("id", type=int, help="its number, as `keys` shows it")

    members = commands.add_parser("members", help="list the members of a tenant")
    setting = commands.add_parser("set-member", help="give a user of Supabase Auth a role")
    removing = commands.add_parser("remove-member", help="remove a member")
    for command in (members, setting, removing):
        command.add_argument("instance", help="Evolution's name of the tenant's instance")
    for command in (setting, removing):
        command.add_argument("user_id", help="its id in Supabase Auth (a UUID)")
    setting.add_argument("role", choices=_ROLES)

    audit = commands.add_parser("audit", help="list who did what, the newest first")
    audit.add_argument("instance", nargs="?", help="only of this tenant")
    audit.add_argument("--lines", type=int, default=50, help="at most this many (default: 50)")
    return parser


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 36500")
    return days


if __name__ == "__main__":
    sys.exit(main())
