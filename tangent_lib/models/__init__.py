"""Models of open_clip: image towers as functions ``f(params, x)``, text towers for zero-shot heads, files of weights."""
