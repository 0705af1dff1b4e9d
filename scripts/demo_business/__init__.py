"""The demo business of `make run`: a bakery whose WhatsApp and AI are played on this machine.

The router and its database are the real ones. The router runs as a process of its own, so that it
can be killed, and is started again; the loopback programs outlive it.
"""
