"""Connections to exchanges. Codecs, books and sessions are pure; one shell per venue owns the socket."""
