-- Run by the TimescaleDB image at its first start: Superset keeps its own state apart from the product's.
create database sentinet_superset;
