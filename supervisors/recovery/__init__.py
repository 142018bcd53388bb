"""Recovery: which rung, in which steps, with whose leave. Pure: evidence and time come in, decisions go out."""
