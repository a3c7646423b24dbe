"""What runs beside the large model: its cache and forward, the batcher, the verifier, the acceptance rules."""
