"""Weights of realm-mini, the built-in model: what training added to and changed in its public trunk. Data only."""
