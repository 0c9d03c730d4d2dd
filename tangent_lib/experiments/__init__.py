"""What an experiment works on, and its results over several seeds: computed, kept with their record, read with types."""
