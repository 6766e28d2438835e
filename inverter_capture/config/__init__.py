"""The configuration: its schema, and the forms in which it is written."""
