"""What can go wrong between the router and its state, each named after what happened.

The SQL functions raise SQLSTATEs of their own (`PT401`, `PT403`, `PT404`, `PT409`, `PT422`:
PostgREST's form of `HTTP status n`); `router.state.failures` turns them into these, and
`router.http.errors` turns these into HTTP answers. Errors of Evolution and of LLM providers live
beside their clients.
"""


class StateError(Exception):
    """Base of what the state can answer instead of doing what was asked."""


class NotFound(StateError):
    """There is no such thing, or it belongs to another tenant: the two look the same."""


class Conflict(StateError):
    """The thing is there, but its present state does not allow this."""


class Invalid(StateError):
    """The request's values cannot be right; the text names the value and the cure."""


class UnknownCaller(StateError):
    """The caller's key is not known, or not any more."""


class NotAllowed(StateError):
    """The caller may see the thing, but its role is too low for this."""


class TooManyOfThese(StateError):
    """As many of these are under way for the tenant as may be; nothing was begun."""


class DatabaseAway(StateError):
    """The database did not answer. What was asked may or may not have been done."""


class DatabaseBusy(DatabaseAway):
    """No connection became free for the call in time: nothing was asked, and it may be soon."""


class DatabaseTooSlow(DatabaseAway):
    """The database did not answer in time: it is away, or what was asked takes too long."""


class TooSlow(DatabaseAway):
    """What was asked for takes the database too long; nothing was changed."""


class DatabaseFault(Exception):
    """The database refused what no caller can have caused: a fault of the program, or the schema.

    The text is for the log: it names the function and what was broken, and holds no row's content.
    """
