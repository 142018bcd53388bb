"""Detectors: pure ``observe(sample, now) -> verdict`` cores, with thin actors around them."""
