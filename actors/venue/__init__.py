"""Venues of our own: a recorded one, a simulated one, and captures. They speak the exchange's wire protocol."""
