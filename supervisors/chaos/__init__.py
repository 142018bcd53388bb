"""Chaos: experiments, the monkey, and what proves that the system healed: history, invariants, measures, reports."""
