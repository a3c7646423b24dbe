"""The daily run tries the same examples every time, so that a red run speaks of the change; `make test-full` draws new ones."""

from hypothesis import settings


def pytest_configure(config):
    settings.register_profile("daily", derandomize=True)
    if config.option.markexpr == "not full":
        settings.load_profile("daily")
