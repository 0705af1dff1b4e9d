"""Re-encodes pictures of any kind as small JPEGs, in the program that opens files (`decoder`)."""

import base64
import io
from typing import Any

from router.senses.refusals import Refused

MOST_PIXELS = 60_000_000  # in a picture before scaling; phones' pictures have up to 50 million
LONGEST_SIDE = 1024  # pixels; a larger picture costs more tokens and shows models no more
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")


def picture(content: bytes) -> str:
    """Return the picture as a JPEG in base64. Raises Refused."""
    from PIL import Image, UnidentifiedImageError

    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError:
        raise Refused("it is not of a known kind") from None
    except Image.DecompressionBombError:
        raise Refused("the picture is too large: it has too many pixels") from None
    if image.width * image.height > MOST_PIXELS:
        raise Refused(f"a picture of {image.width} x {image.height} pixels is too large")
    return jpeg(_still(image))


def _still(image: Any) -> Any:
    """Return a still picture: of an animation, the first and the middle frame side by side."""
    frames = min(getattr(image, "n_frames", 1), 200)
    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # decodes a JPEG no larger than needed
    first = _plain(image)
    if frames < 3 or image.width * image.height > 4_000_000:
        return first
    image.seek(frames // 2)
    return _beside(first, _plain(image))


def _beside(left: Any, right: Any) -> Any:
    from PIL import Image

    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def _plain(image: Any) -> Any:
    """Return the picture upright, scaled, and on a white background."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(_fitted(_in_bytes(image)))
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    return image.convert("RGB")


def _in_bytes(image: Any) -> Any:
    """Return the picture with 256 shades; a scanner's finer shades would become almost white."""
    if image.mode[0] not in "IF":
        return image
    shades = image.convert("I").convert("F") if image.mode[0] == "I" else image
    darkest, lightest = shades.getextrema()
    scale = 255 / ((lightest - darkest) or 1)
    return shades.point(lambda shade: shade * scale - darkest * scale).convert("L")


def _fitted(image: Any) -> Any:
    """Return a copy that is small enough; a large picture is never in memory twice."""
    longest = max(image.size)
    if longest <= LONGEST_SIDE:
        return image.copy()
    width, height = (max(1, round(side * LONGEST_SIDE / longest)) for side in image.size)
    return image.resize((width, height), reducing_gap=2.0)


def jpeg(image: Any) -> str:
    """Return the picture as a new JPEG in base64, which contains nothing of the original file."""
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=80)
    return base64.b64encode(kept.getvalue()).decode()
