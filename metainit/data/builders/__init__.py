"""Where images come from: one module a data set, and how they are prepared.

Imports point from `readers` and `plan` down to the `catalog`. Only this package imports
TFDS, and only to draw glyphs, to prepare a data set, or to read a prepared one.
"""
