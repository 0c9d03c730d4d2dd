"""Task arithmetic in the tangent space: the library behind the book's notebooks.

``task_vectors`` and ``linearize`` hold the arithmetic and f_lin; ``finetune``, ``evaluate``, ``editing`` and
``disentanglement`` what is done with them; ``experiment`` asks for results by task, mode and seed and keeps them in the
``store``; ``miniature`` is the embedded default. ``plots``, ``tables`` and ``controls`` are for notebooks alone.
"""
