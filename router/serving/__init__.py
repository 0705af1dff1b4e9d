"""How the router is served: `python -m router.serving`."""
