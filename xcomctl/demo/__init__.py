"""The demo database: its tables, and the rows that Airflow would have written."""
