"""Pictures that carry their number, so that a receiver knows which frames it saw.

The upper half is sixteen black or white blocks, the counter in binary, most
significant first; the lower half is a bar that moves. Blocks survive any
encoder's losses, and a picture that is broken reads as a number nobody sent.
"""

import numpy as np
from livekit import rtc

WIDTH, HEIGHT, BITS = 640, 360, 16
BLOCK = WIDTH // BITS


def draw(number: int) -> rtc.VideoFrame:
    luma = np.full((HEIGHT, WIDTH), 128, np.uint8)
    for bit in range(BITS):
        on = number >> (BITS - 1 - bit) & 1
        luma[: HEIGHT // 2, bit * BLOCK : (bit + 1) * BLOCK] = 235 if on else 16
    at = number * 8 % (WIDTH - 40)
    luma[HEIGHT // 2 :, at : at + 40] = 235
    chroma = np.full(WIDTH * HEIGHT // 2, 128, np.uint8)
    data = np.concatenate([luma.ravel(), chroma]).tobytes()
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, data)


def read(frame: rtc.VideoFrame) -> int | None:
    """The number in a picture of any size; None when it is not one of ours."""
    frame = frame.convert(rtc.VideoBufferType.I420)
    width, height = frame.width, frame.height
    luma = np.frombuffer(frame.data, np.uint8)[: width * height].reshape(height, width)
    number = 0
    for bit in range(BITS):
        left, right = (bit + 0.3) * width / BITS, (bit + 0.7) * width / BITS
        level = luma[height // 8 : height * 3 // 8, int(left) : int(right) + 1].mean()
        if 90 < level < 160:
            return None
        number = number << 1 | (level >= 160)
    return number
