"""`router.main:app` is the application for any ASGI server; `router.serving` is our own server."""

import gc
import sys

from fastapi import FastAPI

from router import GC_THRESHOLD
from router.app import create_app
from router.configuration.settings import ConfigurationError, load_settings
from router.logs.setup import configure_logging


def __getattr__(name: str) -> FastAPI:
    """Make `app` when a server asks for it, so that an import needs no configuration."""
    if name != "app":
        raise AttributeError(name)
    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.exit(str(error))
    configure_logging(settings)
    gc.set_threshold(*GC_THRESHOLD)
    return create_app(settings)
