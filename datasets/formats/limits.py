"""What every format holds a stored picture to: a bounded size, and an end."""

MAX_STORED_TILE_PX = 64 * 2**20


def is_whole_jpeg(stored: bytes) -> bool:
    """Whether the end marker follows the last scan: libjpeg paints what is missing grey without a word."""
    return stored.find(b"\xff\xd9", max(0, stored.rfind(b"\xff\xda"))) >= 0
