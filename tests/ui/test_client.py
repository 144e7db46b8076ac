"""The running studio through gradio_client, as another program would ask it."""

import pytest
from gradio_client import Client

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.methods import METHODS


@pytest.fixture(scope="module")
def client(studio):
    return Client(studio, verbose=False)


def test_registries_are_offered(client):
    found = client.predict(api_name="/methods")
    assert set(found["methods"]) == set(METHODS) and set(found["allocators"]) == set(ALLOCATORS)


def test_outliers(client):
    assert len(client.predict(api_name="/outliers")) == 32


@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6])
def test_plan(client, allocator, ratio):
    found = client.predict("asvd-i", allocator, ratio, api_name="/plan")
    assert ratio <= found["ratio_achieved"] <= ratio + 0.005 and found["predicted_nll"] > 0


@pytest.mark.parametrize(
    "arguments", [("nope", "uniform", 0.3), ("svd", "nope", 0.3), ("svd", "uniform", 0), ("svd", "uniform", -1)]
)
def test_bad_values_are_said(client, arguments):
    with pytest.raises(Exception, match="Choose one of|Give the share"):
        client.predict(*arguments, api_name="/plan")
