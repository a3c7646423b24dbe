"""Reports: figures and plain words made of a run's tables and journals; nothing in them is written by hand."""
