"""Vocabulary shared by every room: paths, exit reasons, errors, clocks. Pure."""
