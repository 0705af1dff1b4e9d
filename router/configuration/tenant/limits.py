"""A tenant's settings: what may be said and spent, and how long it is kept."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from router.configuration.declaring import BIGINT, FOR_ADMINS, INTEGER, Names, Setting


class LimitSettings(BaseModel):
    """What may be said and spent, and how long it is kept."""

    forbidden_patterns: Annotated[
        Names,
        Setting(
            about="Regular expressions (RE2, ignoring case) that no reply may match; they must be"
            " few and simple enough to search quickly",
            default=(),
            most=50,
            must="be 50 at most, of 10000 characters together",
            example=["pix", r"\bR\$ ?\d{4,}"],
            form="lines",
        ),
    ]
    max_reply_characters: Annotated[
        int | None,
        Setting(
            about="The most characters of a whole reply; it may exceed MAX_REPLY_CHARACTERS, up to"
            " 100,000",
            gt=0,
            le=INTEGER,
            variable="max_reply_characters",
            deployment="default",
        ),
    ]
    leak_characters: Annotated[
        int | None,
        Setting(
            about="A reply with this many characters of the system prompt in one piece is a leak;"
            " 0: no check",
            ge=0,
            le=INTEGER,
            variable="leak_characters",
            deployment="default",
        ),
    ]
    moderation_url: Annotated[
        str | None,
        Field(description=FOR_ADMINS),
        Setting(
            about="A service that is asked whether a reply may be sent, in addition to"
            " MODERATION_URL",
            otherwise="none",
            form="address",
            read_by="admin",
        ),
    ]
    on_refused_reply: Annotated[
        Literal["handoff", "fallback_message"],
        Setting(
            about="What happens to a reply that may not be sent: a human is called, or the"
            " fallback_message is sent instead",
            default="handoff",
        ),
    ]
    fallback_message: Annotated[
        str | None,
        Setting(
            about="Sent instead of a refused reply; once a day when a budget is used up; and once"
            " per outage in which the AI cannot answer",
            otherwise="nothing is sent",
            must="have from 1 to 4096 characters",
        ),
    ]
    loop_replies: Annotated[
        int | None,
        Setting(
            about="This many replies within loop_minutes to similar messages count as a loop of"
            " two bots; 0: no check; more than 100 count as 100",
            ge=0,
            le=INTEGER,
            variable="loop_replies",
            deployment="rule",
        ),
    ]
    loop_minutes: Annotated[
        float | None,
        Setting(
            about="The minutes in which loop_replies are counted",
            gt=0,
            le=1440,
            variable="loop_minutes",
            deployment="rule",
        ),
    ]
    daily_turns: Annotated[
        int | None,
        Setting(
            about="The most turns in a day (UTC)",
            ge=0,
            le=INTEGER,
            variable="daily_turns",
            deployment="budget",
        ),
    ]
    daily_tokens: Annotated[
        int | None,
        Setting(
            about="The most tokens in a day (UTC)",
            ge=0,
            le=BIGINT,
            variable="daily_tokens",
            deployment="budget",
        ),
    ]
    contact_daily_turns: Annotated[
        int | None,
        Setting(
            about="The most turns in a day (UTC) for each of its contacts",
            ge=0,
            le=INTEGER,
            variable="contact_daily_turns",
            deployment="budget",
        ),
    ]
    contact_daily_tokens: Annotated[
        int | None,
        Setting(
            about="The most tokens in a day (UTC) for each of its contacts",
            ge=0,
            le=BIGINT,
            variable="contact_daily_tokens",
            deployment="budget",
        ),
    ]
    retention_days: Annotated[
        int | None,
        Setting(
            about="Days that messages and turns are kept",
            otherwise="`RETENTION_DAYS`, or for ever",
            ge=1,
            le=36_500,
            variable="retention_days",
            deployment="default",
        ),
    ]
    on_retention: Annotated[
        Literal["archive", "delete"],
        Setting(
            about="Older messages are moved to messages_archive (archive) or deleted (delete);"
            " older turns are deleted",
            default="archive",
        ),
    ]
