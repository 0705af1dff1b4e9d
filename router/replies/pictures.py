"""Adds to a turn's prompt the pictures that the contact sent, re-encoded and small."""

from dataclasses import replace

from router.llm.provider import Picture, Prompt
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.media_jobs import PicturesRead, ReadPictures, read_pictures
from router.state.calls.model import Refusal
from router.state.database import Database

MOST = 8  # in a prompt; each costs as many tokens as a thousand words
_LABELS = {
    "image": "[image]",
    "sticker": "[sticker]",
    "document": "[page of a document]",
    "video": "[frame of a video]",
}


async def with_pictures(database: Database, turn: ClaimedTurn, prompt: Prompt) -> Prompt:
    """Return the prompt with the pictures of the turn's conversation, if it has any."""
    if not any(message.pictured for message in turn.history):
        return prompt
    found = await read_pictures(database, ReadPictures(**turn.held, most=MOST))
    return prompt if isinstance(found, Refusal) else showing(prompt, found)


def showing(prompt: Prompt, found: PicturesRead) -> Prompt:
    """Return the prompt with these pictures; it says how many were left out."""
    if found.left_out:
        told = "one more picture was" if found.left_out == 1 else f"{found.left_out} more were"
        prompt = _adding(prompt, f"[{told} sent, and not looked at]")
    pictures = (Picture(_LABELS.get(each.kind, "[picture]"), each.jpeg) for each in found.pictures)
    return replace(prompt, pictures=tuple(pictures))


def without_pictures(prompt: Prompt) -> Prompt:
    """Return the prompt for a model that cannot read pictures."""
    return replace(_adding(prompt, "[the pictures could not be looked at]"), pictures=())


def _adding(prompt: Prompt, note: str) -> Prompt:
    *before, last = prompt.messages
    return replace(prompt, messages=(*before, replace(last, text=f"{last.text}\n{note}")))
