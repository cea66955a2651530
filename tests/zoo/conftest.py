import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small gain nothing from more threads, and on a busy machine those wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
