"""Where Evolution sends what is no text: for those that say in other words what is to be sent."""

MEDIA_PATH = "message/sendMedia"
VOICE_PATH = "message/sendWhatsAppAudio"
STICKER_PATH = "message/sendSticker"
REACTION_PATH = "message/sendReaction"
LOCATION_PATH = "message/sendLocation"
CONTACT_PATH = "message/sendContact"
