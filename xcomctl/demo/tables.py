"""The demo's tables, one script per layout.

`xcom` has every column of the release. Other tables have the main columns and keys, and no foreign
keys to tables that are left out.
"""

from __future__ import annotations

_ALEMBIC = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
"""

DDL_1_10 = f"""
{_ALEMBIC}
CREATE TABLE dag (
    dag_id VARCHAR(250) NOT NULL,
    is_paused BOOLEAN,
    is_active BOOLEAN,
    fileloc VARCHAR(2000),
    owners VARCHAR(2000),
    description TEXT,
    schedule_interval TEXT,
    PRIMARY KEY (dag_id)
);
CREATE TABLE dag_run (
    id INTEGER NOT NULL,
    dag_id VARCHAR(250),
    execution_date DATETIME,
    state VARCHAR(50),
    run_id VARCHAR(250),
    external_trigger BOOLEAN,
    end_date DATETIME,
    start_date DATETIME,
    PRIMARY KEY (id),
    UNIQUE (dag_id, execution_date),
    UNIQUE (dag_id, run_id)
);
CREATE TABLE task_instance (
    task_id VARCHAR(250) NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    execution_date DATETIME NOT NULL,
    start_date DATETIME,
    end_date DATETIME,
    duration FLOAT,
    state VARCHAR(20),
    try_number INTEGER,
    hostname VARCHAR(1000),
    unixname VARCHAR(1000),
    pool VARCHAR(50) NOT NULL,
    queue VARCHAR(256),
    priority_weight INTEGER,
    operator VARCHAR(1000),
    queued_dttm DATETIME,
    max_tries INTEGER DEFAULT '-1',
    pool_slots INTEGER,
    PRIMARY KEY (task_id, dag_id, execution_date)
);
CREATE TABLE xcom (
    id INTEGER NOT NULL,
    "key" VARCHAR(512),
    value BLOB,
    timestamp DATETIME NOT NULL,
    execution_date DATETIME NOT NULL,
    task_id VARCHAR(250) NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX idx_xcom_dag_task_date ON xcom (dag_id, task_id, execution_date);
"""

DDL_2_2 = f"""
{_ALEMBIC}
CREATE TABLE dag (
    dag_id VARCHAR(250) NOT NULL,
    is_paused BOOLEAN,
    is_active BOOLEAN,
    fileloc VARCHAR(2000),
    owners VARCHAR(2000),
    description TEXT,
    schedule_interval TEXT,
    max_active_tasks INTEGER NOT NULL,
    has_task_concurrency_limits BOOLEAN NOT NULL,
    max_active_runs INTEGER,
    PRIMARY KEY (dag_id)
);
CREATE TABLE dag_run (
    id INTEGER NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    execution_date DATETIME NOT NULL,
    state VARCHAR(50),
    run_id VARCHAR(250) NOT NULL,
    external_trigger BOOLEAN,
    end_date DATETIME,
    start_date DATETIME,
    run_type VARCHAR(50) NOT NULL,
    queued_at DATETIME,
    data_interval_start TIMESTAMP,
    data_interval_end TIMESTAMP,
    PRIMARY KEY (id),
    CONSTRAINT dag_run_dag_id_execution_date_key UNIQUE (dag_id, execution_date),
    CONSTRAINT dag_run_dag_id_run_id_key UNIQUE (dag_id, run_id)
);
CREATE TABLE task_instance (
    task_id VARCHAR(250) NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    start_date DATETIME,
    end_date DATETIME,
    duration FLOAT,
    state VARCHAR(20),
    try_number INTEGER,
    hostname VARCHAR(1000),
    unixname VARCHAR(1000),
    pool VARCHAR(256) NOT NULL,
    queue VARCHAR(256),
    priority_weight INTEGER,
    operator VARCHAR(1000),
    queued_dttm DATETIME,
    max_tries INTEGER DEFAULT '-1',
    pool_slots INTEGER NOT NULL,
    run_id VARCHAR(250) NOT NULL,
    CONSTRAINT task_instance_pkey PRIMARY KEY (dag_id, task_id, run_id),
    CONSTRAINT task_instance_dag_run_fkey FOREIGN KEY (dag_id, run_id)
        REFERENCES dag_run (dag_id, run_id) ON DELETE CASCADE
);
CREATE TABLE xcom (
    "key" VARCHAR(512) NOT NULL,
    value BLOB,
    timestamp DATETIME NOT NULL,
    execution_date TIMESTAMP NOT NULL,
    task_id VARCHAR(250) NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    CONSTRAINT pk_xcom PRIMARY KEY (dag_id, task_id, "key", execution_date)
);
"""

_XCOM_KEYS = """
    CONSTRAINT xcom_pkey PRIMARY KEY (dag_run_id, task_id, map_index, "key"),
    CONSTRAINT xcom_task_instance_fkey FOREIGN KEY (dag_id, task_id, run_id, map_index)
        REFERENCES task_instance (dag_id, task_id, run_id, map_index) ON DELETE CASCADE
);
CREATE INDEX idx_xcom_key ON xcom ("key");
CREATE INDEX idx_xcom_task_instance ON xcom (dag_id, task_id, run_id, map_index);
"""
"""The end of `CREATE TABLE xcom` since Airflow 2.3."""

DDL_2_8 = f"""
{_ALEMBIC}
CREATE TABLE dag (
    dag_id VARCHAR(250) NOT NULL,
    is_paused BOOLEAN,
    is_active BOOLEAN,
    fileloc VARCHAR(2000),
    owners VARCHAR(2000),
    description TEXT,
    schedule_interval TEXT,
    max_active_tasks INTEGER NOT NULL,
    max_active_runs INTEGER,
    has_task_concurrency_limits BOOLEAN NOT NULL,
    CONSTRAINT dag_pkey PRIMARY KEY (dag_id)
);
CREATE TABLE dag_run (
    id INTEGER NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    queued_at TIMESTAMP,
    execution_date TIMESTAMP NOT NULL,
    start_date TIMESTAMP,
    end_date TIMESTAMP,
    state VARCHAR(50),
    run_id VARCHAR(250) NOT NULL,
    external_trigger BOOLEAN,
    run_type VARCHAR(50) NOT NULL,
    data_interval_start TIMESTAMP,
    data_interval_end TIMESTAMP,
    CONSTRAINT dag_run_pkey PRIMARY KEY (id),
    CONSTRAINT dag_run_dag_id_execution_date_key UNIQUE (dag_id, execution_date),
    CONSTRAINT dag_run_dag_id_run_id_key UNIQUE (dag_id, run_id)
);
CREATE TABLE task_instance (
    task_id VARCHAR(250) NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    run_id VARCHAR(250) NOT NULL,
    map_index INTEGER DEFAULT -1 NOT NULL,
    start_date TIMESTAMP,
    end_date TIMESTAMP,
    duration FLOAT,
    state VARCHAR(20),
    try_number INTEGER,
    max_tries INTEGER DEFAULT -1,
    hostname VARCHAR(1000),
    unixname VARCHAR(1000),
    pool VARCHAR(256) NOT NULL,
    pool_slots INTEGER NOT NULL,
    queue VARCHAR(256),
    priority_weight INTEGER,
    operator VARCHAR(1000),
    queued_dttm TIMESTAMP,
    CONSTRAINT task_instance_pkey PRIMARY KEY (dag_id, task_id, run_id, map_index),
    CONSTRAINT task_instance_dag_run_fkey FOREIGN KEY (dag_id, run_id)
        REFERENCES dag_run (dag_id, run_id) ON DELETE CASCADE
);
CREATE TABLE xcom (
    dag_run_id INTEGER NOT NULL,
    task_id VARCHAR(250) NOT NULL,
    map_index INTEGER DEFAULT -1 NOT NULL,
    "key" VARCHAR(512) NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    run_id VARCHAR(250) NOT NULL,
    value BLOB,
    timestamp TIMESTAMP NOT NULL,
    {_XCOM_KEYS}
"""

DDL_3 = f"""
{_ALEMBIC}
CREATE TABLE dag (
    dag_id VARCHAR(250) NOT NULL,
    is_paused BOOLEAN NOT NULL,
    is_stale BOOLEAN NOT NULL,
    fileloc VARCHAR(2000),
    relative_fileloc VARCHAR(2000),
    owners VARCHAR(2000),
    description TEXT,
    timetable_type VARCHAR(255) NOT NULL,
    timetable_summary TEXT,
    max_active_tasks INTEGER NOT NULL,
    max_active_runs INTEGER,
    has_task_concurrency_limits BOOLEAN NOT NULL,
    CONSTRAINT dag_pkey PRIMARY KEY (dag_id)
);
CREATE TABLE dag_run (
    id INTEGER NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    queued_at TIMESTAMP,
    logical_date TIMESTAMP,
    start_date TIMESTAMP,
    end_date TIMESTAMP,
    state VARCHAR(50),
    run_id VARCHAR(250) NOT NULL,
    run_type VARCHAR(50) NOT NULL,
    triggered_by VARCHAR(50),
    data_interval_start TIMESTAMP,
    data_interval_end TIMESTAMP,
    run_after TIMESTAMP NOT NULL,
    CONSTRAINT dag_run_pkey PRIMARY KEY (id),
    CONSTRAINT dag_run_dag_id_run_id_key UNIQUE (dag_id, run_id),
    CONSTRAINT dag_run_dag_id_logical_date_key UNIQUE (dag_id, logical_date)
);
CREATE TABLE task_instance (
    id CHAR(32) NOT NULL,
    task_id VARCHAR(250) NOT NULL,
    dag_id VARCHAR(250) NOT NULL,
    run_id VARCHAR(250) NOT NULL,
    map_index INTEGER DEFAULT '-1' NOT NULL,
    start_date TIMESTAMP,
    end_date TIMESTAMP,
    duration FLOAT,
    state VARCHAR(20),
    try_number INTEGER NOT NULL,
    max_tries INTEGER DEFAULT '-1' NOT NULL,
    hostname VARCHAR(1000),
    unixname VARCHAR(1000),
    pool VARCHAR(256) NOT NULL,
    pool_slots INTEGER NOT NULL,
    queue VARCHAR(256),
    priority_weight INTEGER,
    operator VARCHAR(1000),
    queued_dttm TIMESTAMP,
    CONSTRAINT task_instance_pkey PRIMARY KEY (id),
    CONSTRAINT task_instance_composite_key UNIQUE (dag_id, task_id, run_id, map_index),
    CONSTRAINT task_instance_dag_run_fkey FOREIGN KEY (dag_id, run_id)
        REFERENCES dag_run (dag_id, run_id) ON DELETE CASCADE
);
CREATE TABLE xcom (
    dag_run_id INTEGER NOT NULL,
    task_id VARCHAR(250) NOT NULL,
    map_index INTEGER DEFAULT '-1' NOT NULL,
    "key" VARCHAR(512) NOT NULL,
    dag_result BOOLEAN,
    dag_id VARCHAR(250) NOT NULL,
    run_id VARCHAR(250) NOT NULL,
    value JSON,
    timestamp TIMESTAMP NOT NULL,
    {_XCOM_KEYS}
"""
