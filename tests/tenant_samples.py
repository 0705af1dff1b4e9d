"""A value for each setting of a tenant, which is not what a new tenant has."""

from router.configuration.declaring import Declared


def sample_of(setting: Declared) -> object:
    """Return a value that the setting may have."""
    if setting.example is not None:
        return setting.example
    if setting.kind is bool:
        return not setting.default
    if setting.words:
        return setting.words[-1]
    if setting.kind in (int, float):
        return int(setting.ge or setting.gt or 0) + 1
    return "https://service.example/x" if setting.form == "address" else "x1x2x3"
