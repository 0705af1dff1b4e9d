"""The away message, sent while a business is closed: the tenant's text with the next opening."""

import re
from datetime import date, datetime

_NAMES = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "pt": "segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
}
_PLACES = {
    "{time}": "%H:%M",
    "{date}": "%d/%m/%Y",
    "{date:mdy}": "%m/%d/%Y",
    "{date:iso}": "%Y-%m-%d",
}
_DAY = re.compile(r"\{weekday(?::([a-z]{2}))?\}")
_PLACE = re.compile(r"\{[^{}]*\}")
LONGEST = 2000  # characters


def check_away_message(text: str) -> str:
    """Return the text if it is valid. Raises ValueError, which says what is wrong with it."""
    if not 1 <= len(text.strip()) <= LONGEST or len(text) > LONGEST:
        raise ValueError(f"away_message must have from 1 to {LONGEST} characters")
    for place in _PLACE.findall(text):
        day = _DAY.fullmatch(place)
        if place not in _PLACES and (day is None or (day[1] or "en") not in _NAMES):
            languages = ", ".join(f"{{weekday:{language}}}" for language in _NAMES)
            raise ValueError(
                f"away_message has an unknown placeholder, {place[:40]}: there are"
                f" {', '.join(_PLACES)}, {languages}"
            )
    if "{time}" not in text:
        raise ValueError("away_message must say when it opens: write {time} where the time goes")
    return text


def away_text(message: str, opens_at: datetime) -> str:
    """Return the text to send; `opens_at` is in the business's time zone."""
    for place, form in _PLACES.items():
        message = message.replace(place, opens_at.strftime(form))
    return _DAY.sub(lambda found: weekday(opens_at, found[1] or "en"), message)


def weekday(day: date, language: str = "en") -> str:
    """Return the day's name; in English if the language is not known."""
    return _NAMES.get(language, _NAMES["en"]).split()[day.weekday()]
