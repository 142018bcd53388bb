"""Recovery workers: actors that carry out and check recoveries."""
