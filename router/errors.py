"""The errors between the router and its state, named after what happened.

The SQL functions raise their own SQLSTATEs (`PT401`, `PT403`, `PT404`, `PT409`, `PT422`:
PostgREST's form of `HTTP status n`). `router.state.failures` turns them into these errors, and
`router.http.errors` turns these into HTTP responses. The errors of Evolution and of LLM providers
are defined beside their clients.
"""


class StateError(Exception):
    """Base class of the state's refusals."""


class NotFound(StateError):
    """The thing does not exist, or belongs to another tenant; callers cannot see which."""


class Conflict(StateError):
    """The thing exists, but its current state does not allow this."""


class Invalid(StateError):
    """The request has an impossible value; the text names the value and the fix."""


class UnknownCaller(StateError):
    """The caller's key is unknown, or no longer valid."""


class NotAllowed(StateError):
    """The caller may see the thing, but its role is too low for this."""


class TooManyOfThese(StateError):
    """The tenant already has the maximum of these under way; nothing was begun."""


class DatabaseAway(StateError):
    """The database did not answer. The call may or may not have been carried out."""


class DatabaseBusy(DatabaseAway):
    """No connection became free in time: nothing was called, and it may work soon."""


class DatabaseTooSlow(DatabaseAway):
    """The database did not answer in time: it is away, or the call takes too long."""


class TooSlow(DatabaseAway):
    """The request takes the database too long; nothing was changed."""


class DatabaseFault(Exception):
    """The database refused a call because of a fault in the program or schema, not in the request.

    The text is for the log: it names the function and what is wrong, and contains no data of rows.
    """
