"""A proxy that stands in a network connection and breaks it to order."""
