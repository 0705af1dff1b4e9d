"""Turns aiohttp's failures into those of httpx, whose types say whether anything was sent."""

import aiohttp
import httpx

from router.outbound.bounds import Bounds, NotBegunInTime, NotHeardInTime
from router.outbound.exchange import Unsayable


def as_httpx(error: Exception, request: httpx.Request, bounds: Bounds) -> httpx.TransportError:
    """Return the failure of a request, or of reading its response."""
    host, is_sent = request.url.host, bounds.has_line
    match error:
        case Unsayable():
            return httpx.LocalProtocolError(f"{error} cannot be written", request=request)
        case TimeoutError():
            return _timed_out(request, bounds)
        case ValueError() if not is_sent and not isinstance(error, aiohttp.ClientError):
            # not quoted: it may contain a key
            return httpx.LocalProtocolError("the request cannot be written", request=request)
        case _ if not is_sent:
            message = f"{host} cannot be connected to: {error}"
            return httpx.ConnectError(message, request=request)
        case aiohttp.ServerDisconnectedError():
            message = "the server closed the connection without an answer"
            return httpx.RemoteProtocolError(message, request=request)
        case aiohttp.ClientPayloadError():
            message = "the server broke off in the midst of its answer"
            return httpx.RemoteProtocolError(message, request=request)
        case aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError("its answer is not HTTP", request=request)
    quoted = "" if isinstance(error, ValueError) else f": {error}"
    return httpx.ReadError(f"{type(error).__name__}{quoted}", request=request)


def _timed_out(request: httpx.Request, bounds: Bounds) -> httpx.TimeoutException:
    if bounds.has_line:
        if bounds.were_slept_through:
            return NotHeardInTime(request)
        return httpx.ReadTimeout("the answer did not come in time", request=request)
    if bounds.begin_by is not None and bounds.were_slept_through:
        return NotBegunInTime(request)
    message = f"{request.url.host} could not be connected to in time"
    return httpx.ConnectTimeout(message, request=request)
