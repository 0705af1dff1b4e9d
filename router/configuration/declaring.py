"""How a tenant's setting is declared, and what other code derives from the declaration."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from types import GenericAlias, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, Strict
from pydantic.json_schema import SkipJsonSchema

Names = Annotated[tuple[str, ...], Strict(strict=False)]
"""The type of a setting that is a list of texts."""
Unset = SkipJsonSchema[None]
"""For settings that always have a value: a request may leave them out, but null is refused."""
INTEGER = 2**31 - 1
BIGINT = 2**63 - 1
"""The largest numbers that PostgreSQL's types hold: limits of the column, not of the setting."""
FOR_ADMINS = "null also for callers who are not its admins"
"""The description of a setting that only the tenant's admins can read."""

Form = Literal["value", "address", "key", "text", "names", "lines", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The declaration of one setting, except its name and its type.

    A setting whose type allows None may be null: `otherwise` says what holds then. Any other
    setting has the `default` of its column. Numbers have the bounds `gt`, `ge`, `le`. A text has at
    most `longest` characters; a list has at most `most` items of `longest` characters each. If the
    column has another rule, `must` says which.
    """

    about: str
    """In one or two sentences, for owners and developers."""
    default: object = None
    otherwise: str = ""
    gt: float | None = None
    ge: float | None = None
    le: float | None = None
    longest: int | None = None
    most: int | None = None
    must: str = ""
    asked_as: Any = None
    """The type in a request, if it is narrower than the type in an answer."""
    example: object = None
    form: Form = "value"
    """How the value is given.

    `address`: a URL, checked before each connection. `key`: sealed and never shown. `text`, `lines`
    and `json` may be read from a file; `lines` has one item per line. `names`: a comma list.
    """
    variable: str = ""
    """The deployment's variable with the same meaning, if there is one."""
    deployment: Literal["none", "default", "rule", "most", "budget"] = "none"
    """What the variable does.

    `default`: it holds if the tenant has no value. `rule`: the same, and SQL functions get it as an
    argument. `most`: it is the maximum for a tenant. `budget`: it is the maximum per day.
    """
    read_by: Literal["viewer", "admin"] = "viewer"
    """Who may read it. Nobody can read a key."""
    set_by: Literal["admin", "deployment"] = "admin"
    followed: bool = False
    """Members may also read it directly from the database (row security)."""
    required: bool = False
    """Every tenant must have it."""


@dataclass(frozen=True, slots=True)
class Declared(Setting):
    """A setting with its name and the type of its value in answers."""

    name: str
    annotation: Any

    @property
    def nullable(self) -> bool:
        """Whether it may have no value."""
        return NoneType in get_args(self.annotation)

    @property
    def kind(self) -> Any:
        """Its type, without None."""
        if not self.nullable:
            return self.annotation
        (kind,) = (each for each in get_args(self.annotation) if each is not NoneType)
        return kind.__origin__ if get_origin(kind) is Annotated else kind

    @property
    def words(self) -> tuple[str, ...]:
        """The allowed words; empty: any text."""
        kind = self.asked_as or self.kind
        return get_args(kind) if get_origin(kind) is Literal else ()

    @property
    def is_list(self) -> bool:
        """Whether it has several values."""
        return get_origin(self.kind) is tuple

    @property
    def highest(self) -> float | None:
        """The largest allowed number; None: the column's type is the only limit."""
        return None if self.le in (INTEGER, BIGINT) else self.le

    @property
    def is_told(self) -> bool:
        """Whether the audit log shows its values: not keys, nor addresses, which may hold one."""
        return self.form not in ("key", "address")

    @property
    def asked(self) -> Any:
        """Its type in a request, with its bounds."""
        if self.is_list:
            items = GenericAlias(list, (_bounded(str, max_length=self.longest),))
            kind = _bounded(items, max_length=self.most)
        else:
            kind = _bounded(self.asked_as or self.kind, gt=self.gt, ge=self.ge, le=self.le)
        return kind | (None if self.nullable else Unset)

    def fault(self) -> str:
        """Return what a value must be for its column to accept it; empty: it accepts any."""
        if self.must:
            return f"must {self.must}"
        if self.form == "address":
            return "must begin with http:// or https://"
        if self.words:
            return f"must be {' or '.join(self.words)}"
        return f"must {self._bounds()}" if (self.gt, self.ge) != (None, None) else ""

    def _bounds(self) -> str:
        if self.gt is not None:
            most = "" if self.highest is None else f" and at most {self.highest}"
            return f"be more than {self.gt}{most}"
        if self.highest is None:
            return "not be negative"
        return f"be from {self.ge} to {self.highest}"


def declared_in(*models: type[BaseModel]) -> tuple[Declared, ...]:
    """Return the settings that the models declare: their fields that have a Setting."""
    return tuple(
        _declared(name, field.annotation, setting)
        for model in models
        for name, field in model.model_fields.items()
        for setting in field.metadata
        if isinstance(setting, Setting)
    )


def named(settings: Sequence[Declared], *forms: Form) -> tuple[str, ...]:
    """Return the names of the settings with one of these forms."""
    return tuple(setting.name for setting in settings if setting.form in forms)


def _bounded(kind: Any, **bounds: Any) -> Any:
    return Annotated[kind, Field(**bounds)]


def _declared(name: str, annotation: Any, setting: Setting) -> Declared:
    said = {each.name: getattr(setting, each.name) for each in fields(Setting)}
    return Declared(**said, name=name, annotation=annotation)
