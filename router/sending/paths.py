"""Evolution's paths for every kind of message except text."""

MEDIA_PATH = "message/sendMedia"
VOICE_PATH = "message/sendWhatsAppAudio"
STICKER_PATH = "message/sendSticker"
REACTION_PATH = "message/sendReaction"
LOCATION_PATH = "message/sendLocation"
CONTACT_PATH = "message/sendContact"
