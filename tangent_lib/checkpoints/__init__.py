"""Published checkpoints: read without running them, imported as image towers; task vectors made here, exported."""
