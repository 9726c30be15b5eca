"""The administration interface: HTTP and JSON on a unix socket."""
