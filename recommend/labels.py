"""What a watch means, whatever the length of the video. Kuaishou's definitions (KuaiRec, KuaiRand).

Each takes seconds watched and seconds long, numbers or arrays of them.
"""

from __future__ import annotations

from typing import Any


def long_view(watch_s: Any, duration_s: Any) -> Any:
    """To the end of a video of up to 18 seconds, and 18 seconds of a longer one."""
    return (watch_s >= duration_s) | (watch_s >= 18)


def complete(watch_s: Any, duration_s: Any) -> Any:
    """To the end."""
    return watch_s >= duration_s


def short_play(watch_s: Any, duration_s: Any) -> Any:
    """Less than three seconds, and not to the end."""
    return (watch_s < 3) & (watch_s < duration_s)
