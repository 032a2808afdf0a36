"""The fields of an experiment: defaults, types, and what must hold between them."""
