"""Sweeps: a grid of scenarios run cell by cell, in this process, in several, or on Ray; resumable, and summed up in two tables."""
