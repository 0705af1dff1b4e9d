"""A tenant's settings: who makes its replies, from what, and how they are sent."""

from typing import Annotated, Literal

from pydantic import BaseModel

from router.configuration.declaring import INTEGER, Setting


class ReplySettings(BaseModel):
    """Who makes its replies, from what, and how they are sent."""

    system_prompt: Annotated[
        str | None,
        Setting(
            about="The instructions for the AI, before the conversation",
            longest=100_000,
            form="text",
            variable="default_system_prompt",
            deployment="default",
            followed=True,
        ),
    ]
    facts: Annotated[
        str | None,
        Setting(
            about="Facts that the AI may quote, such as prices and addresses; unlike"
            " system_prompt, they never count as a leak",
            otherwise="none",
            longest=100_000,
            form="text",
            followed=True,
        ),
    ]
    llm_provider: Annotated[
        str,
        Setting(
            about="The provider of the model that makes the replies",
            default="anthropic",
            asked_as=Literal["anthropic", "openai"],
            followed=True,
        ),
    ]
    llm_model: Annotated[
        str | None,
        Setting(
            about="The model; without an llm_api_key of its own, one that the deployment allows",
            otherwise="`ANTHROPIC_MODEL` or `OPENAI_MODEL`",
            followed=True,
        ),
    ]
    llm_max_tokens: Annotated[
        int | None,
        Setting(
            about="The most tokens of a reply; with an llm_api_key of its own, it may exceed"
            " LLM_MAX_TOKENS",
            gt=0,
            le=INTEGER,
            variable="llm_max_tokens",
            deployment="most",
        ),
    ]
    notes_to_llm: Annotated[
        bool,
        Setting(
            about="The AI gets the notes of a conversation, and may not repeat them",
            default=False,
            followed=True,
        ),
    ]
    understand_media: Annotated[
        bool,
        Setting(
            about="The AI hears voice messages and sees pictures and documents, if the deployment"
            " supports it; false: it only knows that there were some",
            default=True,
        ),
    ]
    media_wait_seconds: Annotated[
        float | None,
        Setting(
            about="The most seconds that an answer waits until a contact's media is turned into"
            " words",
            ge=0,
            le=120,
            variable="media_wait_seconds",
            deployment="rule",
        ),
    ]
    answer_late_words: Annotated[
        bool,
        Setting(
            about="Media that was answered before it was turned into words is answered again"
            " afterwards",
            default=False,
        ),
    ]
    speech_language: Annotated[
        str | None,
        Setting(
            about="The language that its contacts speak, as a hint for recognising speech",
            otherwise="it is recognised from their speech",
            must="be a language's code of two or three small letters",
            example="pt",
        ),
    ]
    keep_media_days: Annotated[
        int,
        Setting(
            about="Days that files from contacts are kept (in MEDIA_FOLDER or MEDIA_BUCKET); 0:"
            " they are not kept",
            default=0,
            ge=0,
            le=3650,
        ),
    ]
    max_bubbles: Annotated[
        int,
        Setting(
            about="The most messages that a reply is split into, between paragraphs; 1: never"
            " split. A short reply is one message, and lists, links, prices, quotes and code are"
            " not split",
            default=3,
            ge=1,
            le=10,
            followed=True,
        ),
    ]
    new_message_stops: Annotated[
        bool,
        Setting(
            about="If the customer writes again while a reply in several messages is being sent,"
            " the rest is not sent: the next reply answers both",
            default=False,
            followed=True,
        ),
    ]
    quote_replies: Annotated[
        bool,
        Setting(
            about="A reply quotes the message that it answers if that is not obvious: several are"
            " answered together, it is old, or we have sent something since; and in groups",
            default=True,
            followed=True,
        ),
    ]
    thanks_reaction: Annotated[
        str | None,
        Setting(
            about="The emoji that answers a customer who only says thanks, instead of a sentence",
            otherwise="thanks are answered like any message",
            must="be an emoji",
            example="🙏",
            followed=True,
        ),
    ]
    voice_replies: Annotated[
        Literal["never", "mirror", "always"],
        Setting(
            about="Replies are voice messages, if the deployment has a voice (TTS_API_KEY): never,"
            " after a voice message of the customer (mirror), or always",
            default="never",
            followed=True,
        ),
    ]
    tts_voice: Annotated[
        str | None,
        Setting(
            about="The voice for its replies, by its name at the deployment's speech service; many"
            " voices speak one language only",
            must="have from 1 to 100 characters",
            example="pf_dora",
            variable="tts_voice",
            deployment="default",
        ),
    ]
    tts_instructions: Annotated[
        str | None,
        Setting(
            about="How that voice speaks (language, accent, tone), for a model that reads"
            " instructions",
            otherwise="the model's own manner",
            must="have from 1 to 500 characters",
            example="Fala português do Brasil, com calma e simpatia.",
            form="text",
        ),
    ]
    mark_as_read: Annotated[
        bool,
        Setting(
            about="A customer's message is marked as read when its reply is there; false: never."
            " Messages that nobody answers stay unread on the phone",
            default=True,
            followed=True,
        ),
    ]
