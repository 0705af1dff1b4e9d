"""Makes the voice that reads replies aloud, from the configuration."""

from router.configuration.settings import Settings
from router.speech.voice import Voice, VoiceTerms


def open_voice(settings: Settings) -> Voice | None:
    """Return the voice, not loaded yet, or None if the deployment has none."""
    if settings.tts_api_key is None and settings.tts_base_url is None:
        return None
    return Voice(
        VoiceTerms(
            base_url=settings.tts_base_url,
            api_key=settings.tts_api_key,
            model=settings.tts_model,
            voice=settings.tts_voice,
            timeout=settings.tts_timeout,
        )
    )
