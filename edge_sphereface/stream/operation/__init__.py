"""What those who run a stream for months ask of it: health and metrics over HTTP, and signs for systemd."""
