"""The routes are made once for a process, in the form in which they are served."""

from fastapi.routing import APIRoute

from router.routes import FLOWS_ROUTES, ROUTES


def test_no_route_is_made_again_for_being_included():
    # What FastAPI includes is no APIRoute: it is made a second time, as it is looked for.
    assert [route for route in (*ROUTES, *FLOWS_ROUTES) if not isinstance(route, APIRoute)] == []
