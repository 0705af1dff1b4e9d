"""A turn's way out: it is claimed, its reply is made, fenced, sent and recorded."""
