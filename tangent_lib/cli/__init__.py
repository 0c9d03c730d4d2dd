"""What the Snakemake workflow runs: its configuration, the jobs that follow from it, and the GPUs of one machine."""
