"""Sets up logging, once for a process: the lines of all loggers take one way."""

import logging
import sys
from typing import TextIO
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from router.configuration.settings import Settings
from router.logs.formatters import JsonFormatter, TextFormatter
from router.logs.scrubber import register_secret, scrubber

# Libraries that log requests, their URLs or their bodies below WARNING.
_QUIET = (
    *("anthropic", "openai", "httpx2", "httpcore2"),  # the SDKs have their own HTTP client
    *("asyncio", "httpcore", "httpx", "hpack"),
)
_SERVER = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


class _EventHandler(logging.StreamHandler[TextIO]):
    """A class of its own, to recognise the handler of this module among others."""


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send the lines of all loggers to `stream` (None: stdout). A second call replaces the first.

    The settings' secrets are registered. uvicorn's lines take the same way; its lines about
    requests are logged only with LOG_LEVEL=debug.
    """
    for _, secret in settings.secrets():
        register_secret(secret)
    if settings.database_url:
        _register_password(settings.database_url)
    handler = _EventHandler(stream or sys.stdout)
    make = TextFormatter if settings.log_format == "text" else JsonFormatter
    handler.setFormatter(make(scrubber))
    root = logging.getLogger()
    others = [known for known in root.handlers if not isinstance(known, _EventHandler)]
    root.handlers[:] = [*others, handler]
    root.setLevel(settings.log_level.upper())
    logging.captureWarnings(capture=True)
    _leave_out_what_no_line_says()
    _route_libraries(verbose=settings.log_level == "debug")


def _leave_out_what_no_line_says() -> None:
    """Do not determine the calling line, thread and process: that is a third of a line's cost.

    See "Optimization" in Python's guide to logging.
    """
    logging._srcfile = None  # noqa: SLF001 - see the guide
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _route_libraries(*, verbose: bool) -> None:
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SERVER:
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
        server.setLevel(logging.NOTSET)
    # uvicorn writes nothing for a logger that no handler can reach.
    logging.getLogger("uvicorn.access").propagate = verbose


def _register_password(database_url: SecretStr) -> None:
    password = urlsplit(database_url.get_secret_value()).password
    if password:
        scrubber.add(unquote(password))
        scrubber.add(password)
