#!/bin/sh
# The role of the application, which is no superuser, and its three databases. Tables are created by
# the applications themselves; pgvector is created here, because only a superuser may.
set -eu

psql -v ON_ERROR_STOP=1 -v password="$ML_ASSETS_DB_PASSWORD" \
    --no-psqlrc --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
create role ml_assets login password :'password';
create database ml_assets owner ml_assets;
create database mlflow owner ml_assets;
create database dagster owner ml_assets;
\connect ml_assets
create extension vector schema public;
SQL
