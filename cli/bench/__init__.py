"""`touchstream bench`: what the local stack sustains, how fast it answers, and what each stage costs."""
