"""What a broker may be trusted with: promises that are tried out on it, whatever program it is."""
