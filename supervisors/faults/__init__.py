"""Faults on purpose: what there are, how one is ordered, armed, limited and undone (FLT-1)."""
