"""InfluxDB 2, and other databases that take line protocol over HTTP."""
