"""A few short prompts of our own, so that the benchmarks need no data set."""

from __future__ import annotations

PROMPTS = (
    "Write a Python function that returns the n-th Fibonacci number.",
    "Explain in three sentences why the sky is blue.",
    "A shop sells pens at 3 for 4 euros. How much do 18 pens cost? Show the steps.",
    "Translate to German: The train to the coast leaves at half past nine.",
    "Write an SQL query that lists the ten customers with the largest total of orders.",
    "Summarise in one sentence: Bees visit flowers for nectar, and carry pollen between them, which lets plants set seed.",
    "What is the difference between a list and a tuple in Python?",
    "Write a regular expression that matches an ISO date, and explain its parts.",
)
