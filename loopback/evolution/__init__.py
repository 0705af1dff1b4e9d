"""A loopback Evolution API 2.3.6, WhatsApp and the phones included."""

from loopback.evolution.business import Business
from loopback.evolution.chats import Chat, Identity, PhoneMessage
from loopback.evolution.people import Customer, Owner
from loopback.evolution.program import GLOBAL_KEY, Evolution
from loopback.evolution.webhooks import Attempt, Delivery

__all__ = [
    "GLOBAL_KEY",
    "Attempt",
    "Business",
    "Chat",
    "Customer",
    "Delivery",
    "Evolution",
    "Identity",
    "Owner",
    "PhoneMessage",
]
