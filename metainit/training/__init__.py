"""Compiled steps and runs made of a config, the training loop, and initialisations."""
