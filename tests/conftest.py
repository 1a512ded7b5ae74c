"""What every test shares: how Hypothesis runs."""

from hypothesis import HealthCheck, settings

# Timed examples fail on a busy machine and say nothing about the code; print_blob makes a failure elsewhere repeatable.
settings.register_profile("touchstream", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("touchstream")
