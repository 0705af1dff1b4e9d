"""Evolution's paths for everything except text, for code that describes a message otherwise."""

MEDIA_PATH = "message/sendMedia"
VOICE_PATH = "message/sendWhatsAppAudio"
STICKER_PATH = "message/sendSticker"
REACTION_PATH = "message/sendReaction"
LOCATION_PATH = "message/sendLocation"
CONTACT_PATH = "message/sendContact"
