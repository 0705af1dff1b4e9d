"""A business whose webhooks are all told, but for those that are noise."""

from typing import Any

from loopback.evolution import Business
from loopback.evolution.traffic import ALL_EVENTS
from loopback.receiver import WebhookReceiver

NOISE = ("CONTACTS_UPSERT", "CONTACTS_UPDATE", "CHATS_UPSERT")


def connected(shop: Business, router: WebhookReceiver) -> Business:
    events = tuple(event for event in ALL_EVENTS if event not in NOISE)
    shop.sends_webhooks_to(f"{router.url}/webhook/{shop.name}", events=events)
    return shop


async def latest(router: WebhookReceiver, number: int = 1) -> Any:
    return (await router.gets(number))[-1].data
