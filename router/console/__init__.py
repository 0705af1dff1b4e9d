"""The console: pages for people, rendered in the browser over the public API.

It consists of plain ES modules, served unchanged from `web/`: there is no build step, and nothing
is loaded from other servers.
"""
