"""HTTP itself: errors, headers, bodies and callers, and the health of the router."""
