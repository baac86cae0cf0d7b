"""The rows of the table, a family of rows that share a measurement in each module."""
