"""What the pages show: figures, tables, controls, the gallery and the claims ledger. Imported by notebooks alone."""
