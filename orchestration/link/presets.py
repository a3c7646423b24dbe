"""Links by name. Each preset says where its figures come from; a measured link is a trace, not a preset."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestration.link.channel import Conditions


@dataclass(frozen=True, slots=True)
class Phase:
    """Conditions that hold for a time."""

    conditions: Conditions
    duration_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Preset:
    """A named link: the kind of channel it is, its phases in order, and the source of its figures."""

    name: str
    source: str
    phases: tuple[Phase, ...]
    channel: str = "constant"  # a name in `orchestration.link.channels.CHANNELS`


def _conditions(round_trip_ms: float, jitter_ms: float, uplink_mbps: float, downlink_mbps: float, loss: float) -> Conditions:
    return Conditions(round_trip_ms / 1e3, jitter_ms / 1e3, uplink_mbps * 1e6, downlink_mbps * 1e6, loss)


_ALL = (
    Preset("loopback", "no impairment: what is measured is the machine and the proxy itself", (Phase(Conditions()),)),
    Preset(
        "wifi",
        "round trip 5 ± 3 ms: typical of a home access point one hop from the verifier; "
        "rates and loss are assumed, for a shared 802.11ac cell",
        (Phase(_conditions(5, 3, 50, 100, 0.001)),),
    ),
    Preset(
        "5g",
        "round trip: medians (16–18 ms) and p99 (26 ms) of the CICV5G urban drives on bands n78 and n8, doi 10.5281/zenodo.17475688; "
        "rates (1:10) and loss are assumed, for a mid-band cell with few users. Weak coverage has a far longer tail: use a trace for it",
        (Phase(_conditions(17, 4, 20, 200, 0.0005)),),
    ),
    Preset(
        "lte",
        "round trip 40–55 ms as commonly reported for LTE to a server in the region; "
        "rates (1:3) and loss are assumed, for a loaded 10 MHz cell",
        (Phase(_conditions(45, 6, 10, 30, 0.001)),),
    ),
    Preset(
        "intercontinental",
        "round trip 230–300 ms as commonly reported between continents (light in fibre over about 20,000 km takes 200 ms there and back); "
        "rates and loss are assumed, for a home connection on a long path",
        (Phase(_conditions(250, 8, 20, 100, 0.002)),),
    ),
    Preset(
        "satellite",
        "a geostationary satellite: four times 35,786 km at the speed of light is 477 ms, with ground segment and scheduling about 600 ms; "
        "rates and loss are assumed, as sold for home use",
        (Phase(_conditions(600, 15, 3, 25, 0.005)),),
    ),
    Preset(
        "bursty",
        "an assumed link for experiments: 8 s good (40 ms, 15 Mbit/s up, 30 down), then 2 s poor (250 ms, 2 up, 5 down), for ever",
        (Phase(_conditions(40, 4, 15, 30, 0.0), 8.0), Phase(_conditions(250, 25, 2, 5, 0.0), 2.0)),
        channel="burst",
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
