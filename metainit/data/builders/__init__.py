"""Where images come from: one module a data set, and how they are prepared.

Every ``read`` here returns, for each role ("train", "validation", "test"), a
`metainit.data.cache.Part` of square uint8 images. This is the only package that
imports TFDS, and it does so where records are read or written: a data set that comes
with its own split, or is already decoded, opens without it.
"""
