"""Where images come from: one module a data set, and how they are prepared.

Only this package imports TFDS, and does so where records are read or written: a
data set that comes with its own split, or is already decoded, opens without it.
"""
