"""`touchstream replay`: files through ingest's import endpoint, mapped, counted line by line, resumable."""
