"""`touchstream identity replay`: what another identity policy would make of the whole history, and making it so."""
