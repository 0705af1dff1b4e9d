"""What can go wrong between the router and its state, each named after what happened.

The SQL functions raise their own SQLSTATEs (`PT401`, `PT403`, `PT404`, `PT409`, `PT422`:
PostgREST's form of `HTTP status n`). `router.state.failures` turns them into these errors, and
`router.http.errors` turns these into HTTP responses. Errors of Evolution and of LLM providers are
beside their clients.
"""


class StateError(Exception):
    """Base of the state's refusals."""


class NotFound(StateError):
    """There is no such thing, or it belongs to another tenant: the two look the same."""


class Conflict(StateError):
    """The thing is there, but its present state does not allow this."""


class Invalid(StateError):
    """The request has an impossible value; the text names the value and the fix."""


class UnknownCaller(StateError):
    """The caller's key is unknown, or no longer valid."""


class NotAllowed(StateError):
    """The caller may see the thing, but its role is too low for this."""


class TooManyOfThese(StateError):
    """The tenant already has the most of these under way; nothing was begun."""


class DatabaseAway(StateError):
    """The database did not answer. The call may or may not have been carried out."""


class DatabaseBusy(DatabaseAway):
    """No connection became free for the call in time: nothing was called; it may work soon."""


class DatabaseTooSlow(DatabaseAway):
    """The database did not answer in time: it is away, or the call takes too long."""


class TooSlow(DatabaseAway):
    """The request takes the database too long; nothing was changed."""


class DatabaseFault(Exception):
    """The database refused a call, and no caller can be the cause: the program or schema is.

    The text is for the log: it names the function and what was broken, and contains no row's
    content.
    """
