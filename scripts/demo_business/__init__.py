"""The demo business of `make run`: a bakery whose WhatsApp and AI are simulated on this machine.

The router and its database are real. The router is a process of its own, so that it can be killed
and started again; the loopback programs go on running.
"""
