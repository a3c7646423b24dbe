"""Many devices, many verifiers, one experiment: links, scenarios, clusters, and the `airdraft` command."""
