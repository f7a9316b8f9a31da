"""What is published: opened for the requests of a process, and followed."""
