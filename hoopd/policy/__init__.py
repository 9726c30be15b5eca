"""Rules, as operators write them, and pure judgement by them."""
