"""The deterministic world: whole systems on simulated machines, one history for one seed."""
