"""What all doors to SQL have in common: writing a request, and reading an answer.

A door is `async def name(database, asked: Name) -> Named` and has the SQL function's name. Its
request and its answer have a field for each key in the function's header, with the same name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeAlias, TypedDict, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    SkipValidation,
    Strict,
    ValidationError,
)

from router.errors import DatabaseFault
from router.state.database import Database, Json

_T = TypeVar("_T")
_Answer = TypeVar("_Answer", bound="Answer")
_Refusal = TypeVar("_Refusal", bound="Refusal")

Text: TypeAlias = SkipValidation[str]
"""A text in a request that others wrote. The transport checks whether it can be stored."""

Values: TypeAlias = SkipValidation[Mapping[str, object]]
"""A JSON object in a request with keys of its own, such as a policy or a tenant's values."""

Moment: TypeAlias = Annotated[
    datetime, Strict(strict=False), PlainSerializer(datetime.isoformat, when_used="json")
]
"""A time, written as ISO 8601 in the JSON."""

Items: TypeAlias = Annotated[tuple[_T, ...], Strict(strict=False)]
"""A list in an answer."""


Ids: TypeAlias = Annotated[frozenset[str], Strict(strict=False)]
"""Ids in an answer, in no particular order."""


class Asked(BaseModel):
    """The request of a function.

    A key with a `?` in the header has the default None, and None is not sent. Any other key is
    always sent.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )

    def written(self) -> Json:
        """Return it as the JSON that the function takes."""
        wanted = _required(type(self))
        told = self.model_dump(mode="json")
        return {key: value for key, value in told.items() if value is not None or key in wanted}


class Answer(BaseModel):
    """The answer of a function. Its fields must have the declared types.

    A later schema may send more keys. A key that may be missing has a default.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=True, hide_input_in_errors=True, defer_build=True
    )

    def as_told(self) -> Json:
        """Return the keys that the state sent as JSON, to pass them on."""
        return self.model_dump(mode="json", exclude_unset=True)


class Done(Answer):
    """An answer that says only that it was done."""

    ok: bool


class Refusal(Answer):
    """Nothing was done; `refused` is the reason, a word from the header."""

    refused: str


class StoredInstance(Answer):
    """A tenant's Evolution instance; its key is in its stored form."""

    tenant_id: int
    instance_name: str
    evo_server_url: str
    evo_api_key: SecretStr | None


class Held(TypedDict):
    """The keys of every call about an attempt at a turn: `Name(**turn.held, …)`."""

    turn_id: int
    token: str


class Cost(TypedDict, total=False):
    """The provider, the model and the tokens of a reply: `Name(**cost, …)`."""

    provider: str | None
    model: str | None
    tokens_in: int | None
    tokens_out: int | None


class HeldNotice(TypedDict):
    """A notice's id and token; see Held."""

    notice_id: int
    token: str


class HeldDryTurn(TypedDict):
    """A test turn's id and token; see Held."""

    dry_turn_id: int
    token: str


async def call(
    database: Database, function: str, asked: Asked | None, answer: type[_Answer]
) -> _Answer:
    """Call the function. Raises the errors of `Database.call`, and DatabaseFault like `read`."""
    told = await database.call(function, {} if asked is None else asked.written())
    return read(function, told, answer)


async def call_or_refused(
    database: Database,
    function: str,
    asked: Asked,
    answer: type[_Answer],
    refusal: type[_Refusal],
) -> _Answer | _Refusal:
    """Call a function that may refuse: return its answer or its refusal."""
    told = await database.call(function, asked.written())
    if "refused" in told:
        return read(function, told, refusal)
    return read(function, told, answer)


def read(function: str, told: Mapping[str, Any], answer: type[_Answer]) -> _Answer:
    """Return a function's answer. Raises DatabaseFault, without the answer's content."""
    try:
        return answer.model_validate(told)
    except ValidationError as error:
        fault = f"{function}: its answer is not as expected: {_faults(error)}"
        raise DatabaseFault(fault) from None  # the pydantic error contains the answer


@dataclass(frozen=True, slots=True)
class NotRead:
    """An item of a list that could not be read; the others were."""

    name: str
    fault: str


def readable(item: _Answer | NotRead) -> _Answer:
    """Return the item. Raises DatabaseFault if it could not be read."""
    if isinstance(item, NotRead):
        raise DatabaseFault(item.fault)
    return item


def each_by_itself(item: type[_Answer], name: str) -> PlainValidator:
    """Return a validator for a list in which a bad item does not affect the others.

    The list has NotRead in the place of each item that could not be read. `name` is the key of an
    item's id.
    """

    def read_one(told: Mapping[str, Any]) -> _Answer | NotRead:
        try:
            return item.model_validate(told)
        except ValidationError as error:
            return NotRead(str(told.get(name)), _faults(error))

    return PlainValidator(lambda told: tuple(read_one(each) for each in told))


@cache
def _required(asked: type[Asked]) -> frozenset[str]:
    return frozenset(name for name, field in asked.model_fields.items() if field.is_required())


def _faults(error: ValidationError) -> str:
    """Return what is wrong and where, without the values, which may be people's data."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )
