"""The ``rayvisor`` command. The only room that prints."""
