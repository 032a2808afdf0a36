"""From a config to compiled steps and runs, the one training loop, initialisations."""
