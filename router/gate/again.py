"""Gives an endpoint a body that was already read, or none."""

from starlette.types import Message, Receive


def again(body: bytes, receive: Receive) -> Receive:
    """Give the body as if it came now, and then what else comes."""
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def without_body(receive: Receive) -> Receive:
    """Give no body; of what comes only the end counts."""

    async def until_it_ends() -> Message:
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return message

    return again(b"", until_it_ends)
