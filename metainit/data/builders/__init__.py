"""Where images come from: one module a kind of data set.

Every ``read`` here returns, for each role ("train", "validation", "test"), a
`metainit.data.cache.Part` of square uint8 images. This is the only package that
imports TFDS, and it does so inside the two modules that need it (`glyphs`,
`prepared`), which `metainit.data.loading` imports on use: a data set that is already
decoded opens without it.
"""
