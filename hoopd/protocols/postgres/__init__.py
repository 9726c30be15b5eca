"""The PostgreSQL frontend/backend protocol, version 3 (PostgreSQL manual, chapter "Frontend/Backend Protocol")."""
