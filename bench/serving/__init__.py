"""The service over HTTP under load, beside what others serve."""
