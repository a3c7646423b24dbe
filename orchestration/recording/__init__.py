"""Recordings of a pair of models, and their replay: a target and a drafter that answer without models what they answered once."""
