"""What is said to Postgres about machines and their entities."""
