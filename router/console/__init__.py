"""The console: pages for people, rendered in the browser over the public API.

Plain ES modules, served as they are in `web/`: nothing is built, nothing comes from elsewhere.
"""
