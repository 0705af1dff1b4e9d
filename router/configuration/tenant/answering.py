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
            about="What the business's side says this soon after any message of the customer, or"
            " after our own first send into the chat, is a greeting or away message (of WhatsApp"
            " Business, or of another client of Evolution), not a takeover; 0: none is",
            default=0,
            ge=0,
            le=86_400,
        ),
    ]
    other_client_takeover: Annotated[
        bool,
        Setting(
            about="A send by another client of Evolution's API (Chatwoot, the Manager) is a"
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
            about="Which of reaction and poll_vote start a turn, where they are about a message or"
            " a poll of the business",
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
            about="A message that the contact changes after it was answered is answered again",
            default=False,
        ),
    ]
    unknown_lid_minutes: Annotated[
        float,
        Setting(
            about="Minutes that answers wait at most after a human wrote to a chat of which no more"
            " than a LID is known, in conversations of just now whose LID is not known; 0: they do"
            " not",
            default=3,
            ge=0,
            le=60,
        ),
    ]
    on_new_message: Annotated[
        Literal["queue", "restart"],
        Setting(
            about="A message during a running turn waits for the next turn (queue), or starts it"
            " again (restart)",
            default="queue",
        ),
    ]
    timezone: Annotated[
        str | None,
        Setting(
            about="The clock of the business, by the IANA's name",
            must="be the IANA's name of a time zone",
            example="America/Sao_Paulo",
            variable="default_timezone",
            deployment="default",
            followed=True,
        ),
    ]
    opening_hours: Annotated[
        dict[str, Any] | None,
        Setting(
            about="When it is open: weekly windows, exceptions and public holidays, as"
            " docs/context.md has them",
            otherwise="whether it is open is not known",
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
            about="Sent once for each closed stretch to a contact who writes. {time} is when it"
            " opens, and has to be in it; {weekday} (also {weekday:pt}, es, de, fr, it) and {date}"
            " ({date:mdy}, {date:iso}) may be",
            otherwise="nothing is said",
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
            about="false: while it is closed the AI answers nothing; the away_message is sent",
            default=True,
            followed=True,
        ),
    ]
