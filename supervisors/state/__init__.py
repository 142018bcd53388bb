"""State that survives: journals, checkpoints, leases. Ports, embedded files and PostgreSQL."""
