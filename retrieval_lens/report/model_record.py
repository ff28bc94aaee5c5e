"""What results say of their model and of the packages that made them."""

from typing import Any

from retrieval_lens.report.parts import sent


def model_facts(label: dict[str, Any]) -> dict[str, Any]:
    """A model's name, weights and size, as far as the results know them."""
    known = {
        "model": None if label.get("name") is None else sent(label["name"]),
        "source": label.get("source"),
        "revision": label.get("revision"),
        "sha256 of the weights": label.get("weights_sha256"),
        "fingerprint of the weights": label.get("weights"),
        "architecture": label.get("architecture"),
        "dtype": label.get("dtype"),
        "device": label.get("device"),
    }
    if "n_layers" in label and "n_heads" in label:
        known["heads"] = f"{label['n_layers']} layers of {label['n_heads']}"
    return known


def versions_facts(versions: list[dict[str, str]]) -> dict[str, str]:
    """The versions of the packages; each set of them where there were several."""
    texts = [", ".join(f"{name} {number}" for name, number in one.items()) for one in versions]
    if len(texts) == 1:
        return {"versions": texts[0]}
    return {f"versions {number}": text for number, text in enumerate(texts, 1)}


def not_bit_for_bit(labels: list[dict[str, Any]], versions: list[Any]) -> list[str]:
    """Why the same run may give other last bits."""
    found = []
    devices = sorted({str(one["device"]) for one in labels if one.get("device", "cpu") != "cpu"})
    if devices:
        found.append(
            f"Not bit for bit: this ran on {', '.join(devices)}, and another card, driver or batch "
            f"size may change the last bits, and at near ties a token."
        )
    if len(versions) > 1:
        found.append("Not of one piece: several sets of package versions made these results.")
    if any(one.get("source") == "hub" and not one.get("revision") for one in labels):
        found.append("No revision was pinned: the weights at the Hub may change.")
    return found
