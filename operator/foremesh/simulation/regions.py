"""Cloud regions that can be named without a file, and what traffic that leaves them costs.

Coordinates are those of the metropolitan area that the provider names, good to some 50 km: half a millisecond.
"""

from __future__ import annotations

from typing import NamedTuple


class Region(NamedTuple):
    """A region as providers list it."""

    name: str
    latitude: float
    longitude: float
    provider: str
    region: str


REGIONS: tuple[Region, ...] = (
    Region("aws-us-east-1", 38.95, -77.45, "aws", "us-east-1"),
    Region("aws-us-west-2", 45.84, -119.70, "aws", "us-west-2"),
    Region("aws-eu-west-1", 53.35, -6.26, "aws", "eu-west-1"),
    Region("aws-eu-central-1", 50.11, 8.68, "aws", "eu-central-1"),
    Region("aws-ap-northeast-1", 35.68, 139.69, "aws", "ap-northeast-1"),
    Region("aws-ap-southeast-1", 1.35, 103.82, "aws", "ap-southeast-1"),
    Region("aws-ap-south-1", 19.08, 72.88, "aws", "ap-south-1"),
    Region("aws-sa-east-1", -23.55, -46.63, "aws", "sa-east-1"),
    Region("azure-eastus", 37.37, -79.82, "azure", "eastus"),
    Region("azure-westus3", 33.45, -112.07, "azure", "westus3"),
    Region("azure-westeurope", 52.37, 4.90, "azure", "westeurope"),
    Region("azure-uksouth", 51.51, -0.13, "azure", "uksouth"),
    Region("azure-swedencentral", 60.67, 17.14, "azure", "swedencentral"),
    Region("azure-uaenorth", 25.27, 55.30, "azure", "uaenorth"),
    Region("azure-australiaeast", -33.87, 151.21, "azure", "australiaeast"),
    Region("gcp-us-central1", 41.26, -95.86, "gcp", "us-central1"),
    Region("gcp-europe-west1", 50.47, 3.82, "gcp", "europe-west1"),
    Region("gcp-europe-central2", 52.23, 21.01, "gcp", "europe-central2"),
    Region("gcp-asia-northeast3", 37.57, 126.98, "gcp", "asia-northeast3"),
    Region("gcp-africa-south1", -26.20, 28.05, "gcp", "africa-south1"),
)
"""Twenty regions of three providers on six continents."""

DEFAULT_PRICE_USD_PER_GB = 0.01
"""Where neither provider nor price is known: what hosting companies ask for traffic beyond what is included (list
prices of 2024: 0.005 to 0.01)."""

TO_INTERNET_USD_PER_GB = {"aws": 0.09, "azure": 0.087, "gcp": 0.12}
"""List price of the first terabytes a month that leave a provider, from Europe and North America (2024)."""

WITHIN_PROVIDER_USD_PER_GB = {"aws": 0.02, "azure": 0.02, "gcp": 0.05}
"""List price of traffic to another region of the same provider, from Europe and North America (2024; of gcp between
continents)."""

DEARER = {
    "aws": {"ap-northeast-1": 1.27, "ap-southeast-1": 1.33, "ap-south-1": 1.21, "sa-east-1": 1.67},
    "azure": {"uaenorth": 2.08, "australiaeast": 1.38},
    "gcp": {"asia-northeast3": 1.22},
}
"""How much more traffic to the Internet costs from regions elsewhere, as a multiple (the same lists); taken for traffic
within the provider too."""


def egress_price(provider: str, region: str, to_provider: str, to_region: str) -> float:
    """US dollars for a gigabyte from one region to another; 0 within a region, which clouds do not bill as egress."""
    if provider and (provider, region) == (to_provider, to_region):
        return 0.0
    if provider not in TO_INTERNET_USD_PER_GB:
        return DEFAULT_PRICE_USD_PER_GB
    prices = WITHIN_PROVIDER_USD_PER_GB if provider == to_provider else TO_INTERNET_USD_PER_GB
    return round(prices[provider] * DEARER[provider].get(region, 1.0), 4)
