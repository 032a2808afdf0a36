"""From a config to compiled steps, the one training loop and initialisations."""
