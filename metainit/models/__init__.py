"""Networks and heads in Flax linen, as the pure functions the pure layer works on."""
