"""The same results sooner. The plain formulas stay in ``linearize`` and ``ntk``; tests compare each fast path with them."""
