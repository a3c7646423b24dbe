"""What airdraft costs and gains, measured: each module is one question, `python -m benchmarks NAME` answers it."""
