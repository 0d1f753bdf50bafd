"""How fast both packages are: whole steps and their parts, in turns in one run."""
