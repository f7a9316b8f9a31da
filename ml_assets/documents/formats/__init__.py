"""Formats: files of rows, tables and pages, read into raw documents."""
