"""A tenant's settings: who makes its replies, of what, and how they are said."""

from typing import Annotated, Literal

from pydantic import BaseModel

from router.configuration.declaring import INTEGER, Setting


class ReplySettings(BaseModel):
    """Who makes its replies, of what, and how they are said."""

    system_prompt: Annotated[
        str | None,
        Setting(
            about="What the AI is told of its work, before the conversation",
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
            about="What the AI may quote, such as prices and addresses: beside system_prompt, and"
            " never a leak",
            otherwise="none",
            longest=100_000,
            form="text",
            followed=True,
        ),
    ]
    llm_provider: Annotated[
        str,
        Setting(
            about="Whose model makes the replies",
            default="anthropic",
            asked_as=Literal["anthropic", "openai"],
            followed=True,
        ),
    ]
    llm_model: Annotated[
        str | None,
        Setting(
            about="Which model; without an llm_api_key of its own, one that the deployment allows",
            otherwise="`ANTHROPIC_MODEL` or `OPENAI_MODEL`",
            followed=True,
        ),
    ]
    llm_max_tokens: Annotated[
        int | None,
        Setting(
            about="Tokens that a reply may have; with an llm_api_key of its own, also more than"
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
            about="The AI is told the notes of a conversation, which it may not repeat",
            default=False,
            followed=True,
        ),
    ]
    understand_media: Annotated[
        bool,
        Setting(
            about="The AI hears voice messages and sees pictures and documents, where the"
            " deployment can; false: it is told that there were some",
            default=True,
        ),
    ]
    media_wait_seconds: Annotated[
        float | None,
        Setting(
            about="Seconds that an answer waits at most until what a contact sent is in words",
            ge=0,
            le=120,
            variable="media_wait_seconds",
            deployment="rule",
        ),
    ]
    answer_late_words: Annotated[
        bool,
        Setting(
            about="What a contact sent, and was answered before it was in words, is answered again"
            " once it is",
            default=False,
        ),
    ]
    speech_language: Annotated[
        str | None,
        Setting(
            about="The language that its contacts speak, as a hint for voice messages",
            otherwise="it is heard from what they say",
            must="be a language's code of two or three small letters",
            example="pt",
        ),
    ]
    keep_media_days: Annotated[
        int,
        Setting(
            about="Days that the files which contacts send are kept (MEDIA_FOLDER or MEDIA_BUCKET);"
            " 0: they are not kept",
            default=0,
            ge=0,
            le=3650,
        ),
    ]
    max_bubbles: Annotated[
        int,
        Setting(
            about="Messages that a reply is sent in at most, divided between paragraphs; 1: one. A"
            " short reply is one message, and no list, link, price, quote or code is divided",
            default=3,
            ge=1,
            le=10,
            followed=True,
        ),
    ]
    new_message_stops: Annotated[
        bool,
        Setting(
            about="What is left of a reply in several messages is not said when the customer writes"
            " again meanwhile: the next reply goes into both",
            default=False,
            followed=True,
        ),
    ]
    quote_replies: Annotated[
        bool,
        Setting(
            about="A reply quotes the message that it answers where that is not plain: several are"
            " answered together, it is old, or something of ours stands below it; and in groups",
            default=True,
            followed=True,
        ),
    ]
    thanks_reaction: Annotated[
        str | None,
        Setting(
            about="The emoji that answers a customer who only says thanks, in place of a sentence",
            otherwise="thanks are answered as any message",
            must="be an emoji",
            example="🙏",
            followed=True,
        ),
    ]
    voice_replies: Annotated[
        Literal["never", "mirror", "always"],
        Setting(
            about="Replies are said by voice, where the deployment has one (TTS_API_KEY): never,"
            " where the customer sent a voice message (mirror), or always",
            default="never",
            followed=True,
        ),
    ]
    tts_voice: Annotated[
        str | None,
        Setting(
            about="The voice that says its replies, by the name that the deployment's server of"
            " voices has for it; many speak one language",
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
            otherwise="as the model does by itself",
            must="have from 1 to 500 characters",
            example="Fala português do Brasil, com calma e simpatia.",
            form="text",
        ),
    ]
    mark_as_read: Annotated[
        bool,
        Setting(
            about="What a customer wrote is marked as read when the reply to it is there; false:"
            " never. What nobody answers stays unread on the phone",
            default=True,
            followed=True,
        ),
    ]
