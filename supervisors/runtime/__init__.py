"""The imperative shell: the only room that imports ray. Carries out what the pure machines decide."""
