"""The input file: its schema and its reader."""
