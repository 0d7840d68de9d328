"""The shipped boards in a browser, without Grafana: Grafana cannot be had on every machine."""
