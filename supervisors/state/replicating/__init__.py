"""What replication of a journal and promotion of a standby decide, as pure machines.

``primary``: who follows, what is sent, what therefore is acknowledged. ``standby``: what is taken, what is asked for
again, whose history it is. ``promotion``: what has to be applied before a standby acts. Records and bodies are opaque;
sockets, threads, files and bytes are the runtime's (or a simulation's), which carries out the effects in order.
"""
