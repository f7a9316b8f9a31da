"""What is measured, each in a process of its own; peers only in the environment of the peers."""
