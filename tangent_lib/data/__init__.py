"""Real datasets: fetched, read in whichever layout they lie, and prepared once as packed pixels."""
