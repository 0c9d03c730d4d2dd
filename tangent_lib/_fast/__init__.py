"""How f_lin and kernels are computed near the least that they take. ``linearization`` and ``kernels`` hold the formulas."""
