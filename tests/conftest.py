"""What every test run begins with."""

import signal

from hypothesis import settings


def pytest_configure(config):
    # The daily run tries the same examples every time, so that a red run speaks of the change; `make test-full` draws new ones.
    settings.register_profile("daily", derandomize=True)
    if config.option.markexpr == "not full":
        settings.load_profile("daily")
    # A run in a shell's background ignores Ctrl-C, and so would every command that a test starts and then interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
