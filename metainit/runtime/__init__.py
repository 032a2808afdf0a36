"""A run's folder, checkpoints and logs, and what its steps take."""
