"""The console: pages for people, drawn in the browser over the public API.

Plain ES modules, served as they stand in `web/`: nothing is built, nothing comes from elsewhere.
"""
