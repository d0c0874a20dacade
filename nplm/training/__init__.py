"""The loop of claim 1 and what it is made of."""
