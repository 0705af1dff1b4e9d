"""The patterns that promise a human in English. Pure."""

import re

from router.safety.promise_shapes import Promises, any_of, one

_WHO = one(r"""
    (?:(?:a|an|one|of|our|another|the|some|my|human|live|real|support|sales|service|customer|right
    |billing|technical)\s+){0,5}
    (?:colleagues?|humans?|(?<!for one )(?<!for a )(?<!per )person|agents?|representatives?|reps?
    |specialists?|experts?|team(?:mates?| members?)?|technicians?|managers?|management|supervisors?
    |someone|somebody|staff(?: members?)?|advisors?|operators?|owners?|co-?workers?|departments?
    |members? of (?:our|the) (?:\w+ )?(?:team|staff))\b(?!'s)
""")
_MORE = one(r"""
    (?: (?:from|of|on|in) (?:our|the) (?:\w+ ){0,2}(?:team|staff|department|office)| here)?
""")
# After the person, so that no other noun follows: "the team jerseys" are things, not people.
_THEM = one(r"""
    (?=\s*(?:$|[.,;:!)\u2013\u2014]|(?:to|for|on|who|about|from|of|and|right|involved|here|now|know
    |in|that|with|directly|immediately|today|so|this|your)\b))
""")
_MATTER = one(r"""
    (?:message|question|request|case|issue|matter|conversation|chat|details|inquiry|enquiry|concern
    |complaint|feedback|information|problem|order|situation)
""")
_THEIRS = rf"your (?:\w+ )?{_MATTER}s?"
_THIS = rf"(?:you|this|that|it|{_THEIRS}|(?:the|this|that) {_MATTER}s?)"
_SEEN_TO = rf"(?:this|that|it|{_THEIRS}|the {_MATTER})"
_AWAY = r"(?: (?:over|on|along|now|directly|straight|through|up|off|back|right))"
_SOON = one(r"""
    (?=\s*(?:$|[.,;:!)\u2013\u2014]|(?:soon|shortly|in a|in the next|within|here|now|today|tomorrow
    |as soon|asap|right|momentarily|via|by|during|this)\b))
""")
_I_WILL = one(r"""
    (?:(?:i|we)(?:'m|'re| am| are|'ll| will|'ve| have)|let me|allow me to|i need to|while i)
    (?: now| just| already)?(?: going to)?(?: go ahead and)?
""")
_PASSING = one(rf"""
    (?:{_I_WILL} (?:transfer|forward|connect|hand|pass|escalat|redirect|refer|direct|send|relay)
    (?:r?ing|r?ed|e)?(?: {_THIS})?{_AWAY}{{0,2}} (?:to|with) {_WHO}{_THEM}
    |{_I_WILL} (?:put|get)(?:ting)? {_THIS}(?: in touch| in contact| connected|{_AWAY}){{0,2}}
    \s(?:to|with) {_WHO}{_THEM}
    |{_I_WILL} transfer(?:ring)? you(?: now| over)?(?=\s*(?:$|[.,;:!]|to\b))
    |transferring you\b)
""")
_ASKING = one(rf"""
    {_I_WILL} (?:(?:ask|tell|told|notif|alert|inform|contact|involv|call|get|consult|message|ping)
    (?:ting|ing|e|y|ied|ed)?(?: with)?|(?:loop|bring)(?:ing)? in|reach(?:ing)? out to
    |(?:flag|raise)(?:ging|ged|d)? {_THIS} (?:for|with|to)
    |(?:check|confirm|speak|talk|verify)(?:ing)?(?: \w+){{0,3}}? (?:with|to)
    |let(?:ting)?) {_WHO}{_THEM}
""")
_DO = one(r"""
    \s+(?:contact|call|get|reach|reply|respond|help|assist|follow|look|take|check|come|give|message
    |text|write|join|be)\b
""")
_COMES = one(rf"""
    {_MORE}(?:'ll| will| is going to| are going to)(?: be)?(?: also| soon| shortly| right)? (?:
    (?:call|contact|messag|text|email)(?:e|ing)? you\b(?! (?:if|to the|on the day|before))
    |call(?:ing)? back|(?:call|contact)(?:ing)?{_SOON}|reach(?:ing)? (?:out|you)|get(?:ting)? back
    |(?:be )?in touch|get in touch|give you a call|write (?:to )?you
    |(?:reply|respond)(?:ing)?(?: to (?:you|your|this)|{_SOON})
    |(?:assist|help)(?:ing)?(?: you)?(?:{_SOON}| (?:with|on) {_SEEN_TO})|take over|with you{_SOON}
    |join(?:ing)? (?:you|us|this|the (?:chat|conversation))
    |continue(?: with you| this| the (?:chat|conversation)|{_SOON})
    |follow(?:ing)? up(?:{_SOON}| with| on {_SEEN_TO})|jump in|look(?:ing)? into {_SEEN_TO}
    |(?:take care of|review|handle) {_SEEN_TO})
""")
_PASSIVE = one(rf"""
    (?:(?:you will|you'll|you are going to) be (?:contacted|called|transferred|connected|answered)
    (?: \w+){{0,2}} (?:by|to|with) {_WHO}
    |(?:you will|you'll) (?:soon )?hear (?:back )?from {_WHO}
    |{_WHO} (?:has|have) (?:already )?been (?:notified|informed|told|alerted)
    |{_I_WILL} make sure(?: that)? {_WHO} (?:calls|contacts|messages|gets back|reaches out|replies
    |follows up|sees (?:this|your)|looks into)
    |{_SEEN_TO} (?:has been|have been|was|were|is being|will be) (?:forwarded|passed|escalated|sent
    |transferred|handed|flagged|shared){_AWAY}{{0,2}} (?:to|with|for) {_WHO}{_THEM}
    |{_SEEN_TO} (?:will be|is being) (?:reviewed|looked (?:at|into)) by {_WHO}{_THEM})
""")
_ATTENDED = one(rf"""
    (?:will|'ll|are going to) be (?:helped|assisted)(?: \w+){{0,2}} by {_WHO}{_SOON}
""")
_WE_COME = one(r"""
    we(?:'ll| will|'re going to| are going to) (?:shortly |soon )?
    (?:contact you\b|call you\b|get back to you|reach out to you|be in touch|get in touch
    |follow up with you|(?:respond|reply) to you)
""")
ENGLISH = Promises(
    promise=any_of(
        _PASSING,
        _ASKING,
        rf"{_I_WILL} have {_WHO}{_DO}",
        rf"{_WHO}{_COMES}",
        _PASSIVE,
        _ATTENDED,
        _WE_COME,
    ),
    offers=re.compile(
        r"\b(?:if|whenever|unless)\b|\bwhen\b(?! (?:they|he|she|available|free|possible|back)\b)"
    ),
    denies=re.compile(r"\b(?:no|not|never|nobody|cannot|can'?t|won'?t)\b"),
)
