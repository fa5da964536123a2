"""The demo metadata database: its tables and the rows that Airflow would have left in it."""
