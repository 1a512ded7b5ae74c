"""`touchstream demo`: a seeded synthetic shop played into the stack, and the proof that nothing of it got lost.

In order of the work: people, products, acts, shop, faults (what happens) → plan (in which batches) → opening (which
run) → play, sender, journal (what ingest answered) → books (what must therefore be true) → facts, reconcile (what is
true) → summary, guide. screen and watch show it meanwhile; run puts it in order; hosts brings the stack.
"""
