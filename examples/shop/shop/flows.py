"""A flow of the shop's own: its form in the Prefect UI has a field for each setting, with its type and default."""

from prefect import flow

from flows.release import release


@flow(name="train-prices")
def train_prices(units: int = 64, rate: float = 0.05, epochs: int = 15):
    """Train on the newest flats, and serve the prices if they are no worse than those that are served.

    Args:
        units: how many units the hidden layer has.
        rate: the optimizer's learning rate.
        epochs: how often it sees each flat.
    """
    settings = {"units": units, "rate": rate}
    return release(
        model="Prices", recipe="shop.prices", settings=settings, data="data/flats.csv", label="price", epochs=epochs
    )
