"""`touchstream identity suggest`: pairs of customers that are probably one person without sharing an identifier."""
