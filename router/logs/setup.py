"""Every logger's lines go one way: set up once for a process."""

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
    *("anthropic", "openai", "httpx2", "httpcore2"),  # the SDKs have an HTTP client of their own
    *("asyncio", "httpcore", "httpx", "hpack"),
)
_SERVER = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


class _EventHandler(logging.StreamHandler[TextIO]):
    """The handler of this module, to distinguish it from others."""


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (standard output if None); again replaces the first.

    The settings' secrets are registered. uvicorn's lines go the same way, those about each request
    only at LOG_LEVEL=debug.
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
    """Spare the look for the calling line, thread and process: a third of what a line costs.

    See "Optimization" in Python's guide to logging.
    """
    logging._srcfile = None  # noqa: SLF001 - as the guide says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _route_libraries(*, verbose: bool) -> None:
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SERVER:
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
        server.setLevel(logging.NOTSET)
    # uvicorn makes no line for a logger that has no handler in reach.
    logging.getLogger("uvicorn.access").propagate = verbose


def _register_password(database_url: SecretStr) -> None:
    password = urlsplit(database_url.get_secret_value()).password
    if password:
        scrubber.add(unquote(password))
        scrubber.add(password)
