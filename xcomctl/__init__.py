"""xcomctl: XCom inspection and size audit for Apache Airflow."""

__version__ = "0.1.0"
