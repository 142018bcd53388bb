"""The trail: one ordered stream of what happened, and its readers (metrics, health, failure records, live view)."""
