"""What is done in a process when a fault with the hook ``now`` is armed there, a module for each group of kinds."""
