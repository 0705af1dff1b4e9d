"""A tenant's settings: what is answered, and when."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel

from router.configuration.declaring import Names, Setting
from router.configuration.opening_hours import OpeningHours


class AnsweringSettings(BaseModel):
    """What is answered, and when."""

    debounce_seconds: Annotated[
        float | None,
        Setting(
            about="Seconds of quiet that end a customer's burst of messages",
            ge=0,
            le=3600,
            variable="debounce_seconds",
            deployment="rule",
            followed=True,
        ),
    ]
    resume_after_hours: Annotated[
        float | None,
        Setting(
            about="Hours after the business's last own message until the AI answers again",
            gt=0,
            le=87_600,
            variable="resume_after_hours",
            deployment="rule",
            followed=True,
        ),
    ]
    answer_within_minutes: Annotated[
        float | None,
        Setting(
            about="Minutes after which an unanswered message is too old to be answered",
            gt=0,
            le=525_600,
            variable="answer_within_minutes",
            deployment="rule",
            followed=True,
        ),
    ]
    auto_reply_seconds: Annotated[
        float,
        Setting(
            about="Seconds after a customer's message, or after our first send into the chat, in"
            " which a message from the business's side counts as an automatic greeting or away"
            " message (of WhatsApp Business, or of another client of Evolution), not as a"
            " takeover; 0: never",
            default=0,
            ge=0,
            le=86_400,
        ),
    ]
    other_client_takeover: Annotated[
        bool,
        Setting(
            about="A send by another client of Evolution's API (Chatwoot, the Manager) counts as a"
            " takeover",
            default=True,
        ),
    ]
    answer_groups: Annotated[bool, Setting(about="Groups are answered, too", default=False)]
    unanswered_kinds: Annotated[
        Names,
        Setting(
            about="Kinds of message that are recorded but start no turn",
            default=(),
            most=50,
            longest=60,
            example=["sticker"],
            form="names",
        ),
    ]
    answered_kinds: Annotated[
        Names,
        Setting(
            about="Which of reaction and poll_vote start a turn, if they concern a message or a"
            " poll of the business",
            default=(),
            most=2,
            longest=60,
            must="name reaction or poll_vote",
            example=["poll_vote"],
            form="names",
        ),
    ]
    answer_edits: Annotated[
        bool,
        Setting(
            about="A message that the contact edits after it was answered is answered again",
            default=False,
        ),
    ]
    unknown_lid_minutes: Annotated[
        float,
        Setting(
            about="After a human wrote to a chat known only by its LID, the most minutes that"
            " answers wait in recent conversations whose LID is not known; 0: they do not wait",
            default=3,
            ge=0,
            le=60,
        ),
    ]
    on_new_message: Annotated[
        Literal["queue", "restart"],
        Setting(
            about="A message during a running turn waits for the next turn (queue), or restarts"
            " the running one (restart)",
            default="queue",
        ),
    ]
    timezone: Annotated[
        str | None,
        Setting(
            about="The business's time zone, by its IANA name",
            must="be the IANA name of a time zone",
            example="America/Sao_Paulo",
            variable="default_timezone",
            deployment="default",
            followed=True,
        ),
    ]
    opening_hours: Annotated[
        dict[str, Any] | None,
        Setting(
            about="When it is open: weekly hours, exceptions and public holidays, in the format of"
            " docs/context.md",
            otherwise="the opening hours are unknown",
            must="be an object of at most 20000 bytes",
            asked_as=OpeningHours,
            example={"weekly": {"mon": ["09:00-12:00", "13:00-18:00"], "fri": ["18:00-02:00"]}},
            form="json",
            followed=True,
        ),
    ]
    away_message: Annotated[
        str | None,
        Setting(
            about="Sent once to a contact who writes while the business is closed. It must contain"
            " {time}, when the business opens; it may contain {weekday} (also {weekday:pt}, es,"
            " de, fr, it) and {date} ({date:mdy}, {date:iso})",
            otherwise="nothing is sent",
            longest=2000,
            must="have from 1 to 2000 characters, and {time} among them",
            example="Estamos fechados. Abrimos {weekday:pt}, {date}, às {time}.",
            form="text",
            followed=True,
        ),
    ]
    answer_when_closed: Annotated[
        bool,
        Setting(
            about="false: while the business is closed the AI answers nothing; the away_message is"
            " sent",
            default=True,
            followed=True,
        ),
    ]
