"""What a vendor says it delivered: importers of its usage API or of its CSV file.

An importer takes all of an answer or nothing: a figure that cannot be read for sure is an error.
"""
