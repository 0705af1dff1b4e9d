"""`scripts.n8n try`: gives a flow a test turn, and prints what it would have said."""

import json
import sys
from dataclasses import replace

import httpx

from router.configuration.settings import Settings
from router.n8n.opening import make_trial
from router.n8n.trial import Trial, TriedFlow
from router.outbound.own import open_flows_http
from router.senses.sounds import Sounds
from router.state.calls.tenants import ListTenants, list_tenants
from router.state.database import Database
from router.state.pages import all_items
from scripts.n8n.launch import router_url
from scripts.operators import as_script
from scripts.running import CannotGoOn, this_python


async def try_flow(settings: Settings, database: Database, wanted: Trial) -> int:
    """Try a flow and print the result. Returns 1 if a real turn would have failed.

    An empty instance name means the only tenant. The router must run, because the flow sends
    through it. Raises CannotGoOn and StateError.
    """
    operator = as_script(database)
    if not wanted.instance_name:
        only = await _only(operator)
        wanted = replace(wanted, instance_name=only)
    if settings.n8n_webhook_url is None:  # the same as in `make run N8N=1`
        own = f"http://127.0.0.1:{settings.n8n_port}/webhook"
        settings = settings.model_copy(update={"n8n_webhook_url": own})
    async with open_flows_http(settings.n8n_answer_seconds, 1) as http:
        await _warn_of_no_router(http, router_url(settings))
        tried = await make_trial(settings, http, Sounds()).run(operator, wanted)
    print("\n".join(told(tried)))
    return 0 if tried.ok else 1


async def _warn_of_no_router(http: httpx.AsyncClient, url: str) -> None:
    try:
        await http.get(f"{url.rstrip('/')}/health", timeout=5)
    except httpx.HTTPError:
        told = f"no router answers at {url}: a flow that sends by itself needs it (make run N8N=1)"
        print(told, file=sys.stderr)


async def _only(database: Database) -> str:
    names = [each.instance_name async for each in all_items(list_tenants, database, ListTenants())]
    if len(names) == 1:
        return names[0]
    if not names:
        raise CannotGoOn(f"there is no tenant: {this_python()} -m scripts.tenant add NAME …")
    raise CannotGoOn(f"there are {len(names)} tenants: say which, with --tenant INSTANCE")


def told(tried: TriedFlow) -> list[str]:
    """Return the result of the test turn as lines."""
    where = f", execution {tried.execution_url or tried.execution_id}" if tried.execution_id else ""
    lines = [f"{tried.flow}, contract {tried.contract}: {tried.seconds:g} s{where}"]
    for each in tried.said:
        if each.text is not None:
            lines += [f"  says:  {line}" for line in each.text.splitlines() or [""]]
        else:
            lines.append(f"  sends: {each.path} {json.dumps(each.body, ensure_ascii=False)}")
    if tried.handoff is not None:
        why = tried.handoff.get("reason")
        lines.append(f"  calls a human: {why}")
    if tried.silence is not None:
        lines.append(f"  is silent: {tried.silence}")
    if tried.usage is not None:
        lines.append(f"  usage: {json.dumps(tried.usage)}")
    if tried.error is not None:
        lines.append(f"  FAILED: {tried.error}")
    elif not tried.said and tried.handoff is None and tried.silence is None:
        lines.append("  says nothing")
    return [*lines, "Nothing was sent, and no turn was made."]
