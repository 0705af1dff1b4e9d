"""A tenant's settings: what may be said and spent, and how long it is kept."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from router.configuration.declaring import BIGINT, FOR_ADMINS, INTEGER, Names, Setting


class LimitSettings(BaseModel):
    """What may be said and spent, and how long it is kept."""

    forbidden_patterns: Annotated[
        Names,
        Setting(
            about="Regular expressions (RE2; case does not count) that no reply may match; so many"
            " and so simple that all are looked for in a moment",
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
            about="Characters of a whole reply; beyond MAX_REPLY_CHARACTERS, 100,000 at most count",
            gt=0,
            le=INTEGER,
            variable="max_reply_characters",
            deployment="default",
        ),
    ]
    leak_characters: Annotated[
        int | None,
        Setting(
            about="So many characters of the system prompt in one piece make a reply a leak; 0: it"
            " is not looked for",
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
            about="A service that is asked whether a reply may be sent, besides MODERATION_URL",
            otherwise="none",
            form="address",
            read_by="admin",
        ),
    ]
    on_refused_reply: Annotated[
        Literal["handoff", "fallback_message"],
        Setting(
            about="What becomes of a reply that may not be sent: a human is asked for, or the"
            " fallback_message is sent instead",
            default="handoff",
        ),
    ]
    fallback_message: Annotated[
        str | None,
        Setting(
            about="In place of a refused reply; once a day when a budget is used up; and once in a"
            " time in which the AI cannot answer",
            otherwise="nothing is said",
            must="have from 1 to 4096 characters",
        ),
    ]
    loop_replies: Annotated[
        int | None,
        Setting(
            about="So many replies within loop_minutes to messages that are alike are a loop of two"
            " bots; 0: no loop is looked for; more than 100 count as 100",
            ge=0,
            le=INTEGER,
            variable="loop_replies",
            deployment="rule",
        ),
    ]
    loop_minutes: Annotated[
        float | None,
        Setting(
            about="The minutes in which loop_replies count",
            gt=0,
            le=1440,
            variable="loop_minutes",
            deployment="rule",
        ),
    ]
    daily_turns: Annotated[
        int | None,
        Setting(
            about="Turns that may be made in a day (UTC)",
            ge=0,
            le=INTEGER,
            variable="daily_turns",
            deployment="budget",
        ),
    ]
    daily_tokens: Annotated[
        int | None,
        Setting(
            about="Tokens that may be used in a day (UTC)",
            ge=0,
            le=BIGINT,
            variable="daily_tokens",
            deployment="budget",
        ),
    ]
    contact_daily_turns: Annotated[
        int | None,
        Setting(
            about="Turns that may be made in a day (UTC) for each of its contacts",
            ge=0,
            le=INTEGER,
            variable="contact_daily_turns",
            deployment="budget",
        ),
    ]
    contact_daily_tokens: Annotated[
        int | None,
        Setting(
            about="Tokens that may be used in a day (UTC) for each of its contacts",
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
            about="Messages that are older are moved to messages_archive (archive) or deleted"
            " (delete); turns are deleted",
            default="archive",
        ),
    ]
