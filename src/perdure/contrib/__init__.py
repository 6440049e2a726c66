"""Small bridges to what others have made: one file for each, and nothing that the rest relies on."""
