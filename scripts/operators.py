"""Who may use the API: `python -m scripts.operators keys|new-key|revoke-key|members|…|audit`.

Works on the configured database, through the same SQL functions as the REST API. Exit code 0: done;
1: not done, with the reason and the cure on stderr; 2: the command was not understood.
"""

import argparse
import getpass
import json
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from router.api.bound_database import CallersDatabase
from router.configuration.settings import Settings
from router.gate.identity import make_api_key, script_caller
from router.state.database import Database, Json
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
    """Return the state as this computer's user sees it: everything, and audited."""
    return CallersDatabase(state, script_caller(getpass.getuser()))


async def new_key(database: Database, given: argparse.Namespace) -> int:
    """Make a key and show it, this once."""
    new = make_api_key()
    tenants = [await _tenant_id(database, name) for name in given.tenant]
    days = given.days
    argument = {
        "name": given.name,
        "role": given.role,
        "tenant_ids": None if given.every_tenant else tenants,
        "expires_at": (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None,
        "key_hash": new.key_hash,
        "starts_with": new.starts_with,
    }
    kept = (await database.call("create_api_key", argument))["api_key"]
    print(new.key.get_secret_value())
    print(f"This is key {kept['id']}, {given.role} of {_reach(kept)}. It is not shown again: only")
    print("its hash is kept. Show it as X-API-Key or as Authorization: Bearer.")
    return 0


async def show_keys(database: Database) -> int:
    """List the keys: whose they are and until when they hold, never what they are."""
    keys = [key async for key in _all(database, "list_api_keys", {})]
    if not keys:
        print("There is no key but those of API_KEYS: python -m scripts.operators new-key NAME …")
    for key in keys:
        used = f"used {key['last_used_at'][:16]}" if key["last_used_at"] else "never used"
        print(
            f"{key['id']:>6}  {key['starts_with']}...  {key['role']:<8}  {_reach(key)}"
            f"  {key['name']}  {used}  {_state(key)}"
        )
    return 0


async def revoke_key(database: Database, key_id: int) -> int:
    """Refuse a key from now on."""
    revoked = (await database.call("revoke_api_key", {"api_key_id": key_id}))["api_key"]
    print(f"Key {key_id} ({revoked['name']}) {_state(revoked)}.")
    return 0


async def show_members(database: Database, instance: str) -> int:
    """List the users of Supabase Auth that may see a tenant."""
    argument = {"tenant_id": await _tenant_id(database, instance)}
    members = (await database.call("list_members", argument))["items"]
    if not members:
        print(f"{instance} has no member: python -m scripts.operators set-member {instance} …")
    for member in members:
        print(f"{member['user_id']}  {member['role']:<8}  since {member['created_at'][:16]}")
    return 0


async def set_member(database: Database, given: argparse.Namespace) -> int:
    """Give a user a role in a tenant."""
    tenant_id = await _tenant_id(database, given.instance)
    argument = {"tenant_id": tenant_id, "user_id": given.user_id, "role": given.role}
    await database.call("set_member", argument)
    print(f"{given.user_id} is {given.role} of {given.instance} from now on.")
    return 0


async def remove_member(database: Database, given: argparse.Namespace) -> int:
    """Take a user's role in a tenant."""
    argument = {"tenant_id": await _tenant_id(database, given.instance), "user_id": given.user_id}
    removed = (await database.call("remove_member", argument))["removed"]
    is_now = "is no longer" if removed else "was not"
    print(f"{given.user_id} {is_now} a member of {given.instance}.")
    return 0


async def show_audit(database: Database, given: argparse.Namespace) -> int:
    """List who did what, the newest first."""
    argument: Json = {"limit": min(given.lines, 200)}
    if given.instance:
        argument["tenant_id"] = await _tenant_id(database, given.instance)
    shown = 0
    async for line in _all(database, "list_audit", argument):
        about = [f"{n}={line[n]}" for n in ("tenant_id", "session_id", "turn_id") if line[n]]
        detail = json.dumps(line["detail"], ensure_ascii=False) if line["detail"] else ""
        who = f"{line['caller_kind']} {line['caller']}"
        print("  ".join((line["at"][:19], who, line["action"], *about, detail)).rstrip())
        shown += 1
        if shown == given.lines:
            break
    return 0


async def _all(database: Database, function: str, argument: Json) -> AsyncIterator[Json]:
    cursor = None
    while True:
        page = await database.call(function, {**argument, "cursor": cursor})
        for item in page["items"]:
            yield item
        if (cursor := page["next_cursor"]) is None:
            return


async def _tenant_id(database: Database, instance: str) -> int:
    return int((await database.call("get_tenant", {"instance_name": instance}))["tenant"]["id"])


def _reach(key: Json) -> str:
    if key["every_tenant"]:
        return "every tenant"
    return "tenant " + ",".join(str(tenant_id) for tenant_id in key["tenant_ids"])


def _state(key: Json) -> str:
    if key["revoked_at"]:
        return f"was revoked {key['revoked_at'][:16]}"
    if key["expires_at"]:
        return f"{'holds until' if key['is_active'] else 'is over since'} {key['expires_at'][:16]}"
    return "holds"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=called("scripts.operators"), description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("keys", help="list the keys of the API")

    making = commands.add_parser("new-key", help="make a key, and show it this once")
    making.add_argument("name", help="who or what uses it")
    making.add_argument("--role", required=True, choices=_ROLES)
    reach = making.add_mutually_exclusive_group(required=True)
    reach.add_argument(
        "--tenant", action="append", default=[], metavar="INSTANCE", help="may be given repeatedly"
    )
    reach.add_argument("--every-tenant", action="store_true", help="also those yet to come")
    making.add_argument("--days", type=_days, help="how long it holds (for ever)")

    revoking = commands.add_parser("revoke-key", help="refuse a key from now on")
    revoking.add_argument("id", type=int, help="its number, as `keys` shows it")

    members = commands.add_parser("members", help="list the users that may see a tenant")
    setting = commands.add_parser("set-member", help="give a user of Supabase Auth a role")
    removing = commands.add_parser("remove-member", help="take a user's role")
    for command in (members, setting, removing):
        command.add_argument("instance", help="Evolution's name of the tenant's instance")
    for command in (setting, removing):
        command.add_argument("user_id", help="its id in Supabase Auth (a UUID)")
    setting.add_argument("role", choices=_ROLES)

    audit = commands.add_parser("audit", help="list who did what, the newest first")
    audit.add_argument("instance", nargs="?", help="of this tenant only")
    audit.add_argument("--lines", type=int, default=50, help="how many at most (50)")
    return parser


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 36500")
    return days


if __name__ == "__main__":
    sys.exit(main())
