"""Gives an endpoint a body that was already read, or no body."""

from starlette.types import Message, Receive


def again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body first, and then what else arrives."""
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def without_body(receive: Receive) -> Receive:
    """Return a `receive` that gives no body; of what arrives, only the end is passed on."""

    async def until_it_ends() -> Message:
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return message

    return again(b"", until_it_ends)
