"""placeholder for contract: to be written with the decoder."""
