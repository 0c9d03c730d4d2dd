"""What everything else stands on: errors, the store, processes, memory, disk, and how operations run on this machine."""
