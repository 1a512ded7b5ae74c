"""Conditions over a profile: their language, what its words mean, and the stages, tags and segments made of them."""
