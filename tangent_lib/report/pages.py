"""The pages that stand for figures, tables and claims of the papers: the names of their notebooks."""

ADVANTAGE_PAGE, XI_PAGE, LINEAR_PAGE = "03_nonlinear_advantage", "04_disentanglement", "05_linear_ft"
NTK_PAGE, RANDOM_PAGE, ATTENTION_PAGE = "06_ntk_localization", "07_random_init", "08_attention_only"
