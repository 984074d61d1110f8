"""The programs labkit runs and the formats it reads: pure builders and readers."""
