"""airdraft on a Ray cluster: verifier replicas on cloud nodes, devices on edge nodes, a directory that knows them all.

What each actor does is a plain class that knows nothing of Ray (`replica`, `device`, `directory`); `actors` wraps them, `deployment` places
them.
"""
