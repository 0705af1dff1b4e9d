"""Finds out whether Evolution's own bots are on for an instance: they would answer, too.

Evolution 2 lists them with `GET /<kind>/find/<instance>`: a list of bots, each `enabled` or not,
null if there are none, 400 if the kind is switched off for the whole server.
"""

import asyncio
from functools import partial
from urllib.parse import quote

import httpx

from router.evolution.errors import MOST_OF_A_WORD
from router.evolution.exchange import LONGEST_WORD, Instance
from router.outbound.answers import read_beside_the_loop, read_json
from router.outbound.client import for_tenant

_KINDS = ("evolutionBot", "typebot", "openai", "dify", "flowise", "n8n", "evoai")


async def enabled_bots(http: httpx.AsyncClient, instance: Instance) -> list[str]:
    """Return the kinds of bots that are on. An unknown state counts as off."""
    found = await asyncio.gather(*(_is_on(http, instance, kind) for kind in _KINDS))
    return [kind for kind, on in zip(_KINDS, found, strict=True) if on]


async def _is_on(http: httpx.AsyncClient, instance: Instance, kind: str) -> bool:
    url = f"{instance.server_url.rstrip('/')}/{kind}/find/{quote(instance.name, safe='')}"
    try:
        answer = await http.get(
            url,
            headers={"apikey": instance.api_key.get_secret_value()},
            extensions={**for_tenant(instance.name), "longest": LONGEST_WORD},
        )
        if answer.status_code != 200:
            return False
        read = partial(read_json, answer.content, most=MOST_OF_A_WORD)
        bots = await read_beside_the_loop(answer.content, read)
    except (httpx.HTTPError, ValueError):
        return False
    if not isinstance(bots, list):
        return False
    return any(isinstance(bot, dict) and bot.get("enabled") is True for bot in bots)
