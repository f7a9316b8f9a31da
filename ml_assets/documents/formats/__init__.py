"""Formats: files of rows, tables and pages, read into rows and raw documents.

One module per family of formats. Where files lie, and which collection a row belongs to, is for
`sources`.
"""
