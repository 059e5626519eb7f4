"""A tone, and judging by its spectrum whether it arrived."""

import numpy as np

RATE = 48_000


def samples(hz: float, start: int, count: int) -> bytes:
    """Mono 16-bit samples number `start` and on of an endless sine at half scale."""
    at = np.arange(start, start + count) / RATE
    return (np.sin(2 * np.pi * hz * at) * 16_000).astype(np.int16).tobytes()


def loudest(sound: np.ndarray, rate: int) -> tuple[float, float]:
    """Frequency of the strongest component, Hz, and the share of all power that lies within 20 Hz of it."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / rate)
    top = hz[int(spectrum.argmax())]
    near = spectrum[np.abs(hz - top) <= 20].sum()
    return float(top), float(near / max(spectrum.sum(), 1e-9))
