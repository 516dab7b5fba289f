"""Load tests with pass criteria, by locust: `python -m loadtest.locust --help`; loadtest/README.md says more."""
