"""Words that rarely answer why: function words of English, and punctuation.

Function words make a closed class, so a list can hold them. Negations are not on it: they turn a
sentence round. In other languages only punctuation counts.
"""

import regex

_ARTICLES = "a an the this that these those"
_PRONOUNS = """
i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it
its itself we us our ours ourselves they them their theirs themselves one ones who whom whose which
what there
"""
_AUXILIARIES = """
am is are was were be been being do does did doing have has had having will would shall should can
could may might must i'm you're he's she's it's we're they're i've you've we've they've i'll you'll
he'll she'll it'll we'll they'll i'd you'd he'd she'd we'd they'd that's there's what's who's s m re
ve ll d
"""
_PREPOSITIONS = """
about above across after along among around as at before behind below beneath beside between beyond
by down during for from in inside into near of off on onto out over past since through throughout to
toward towards under until up upon via with within
"""
_CONJUNCTIONS = """
and or but nor so yet if then than because while when where whether though although unless that as
how why
"""

FUNCTION_WORDS = frozenset(
    " ".join([_ARTICLES, _PRONOUNS, _AUXILIARIES, _PREPOSITIONS, _CONJUNCTIONS]).split()
)

# Emoji and other pictures say something; marks, and symbols such as < or |, join or part words.
_CONTENT = regex.compile(r"[\w\p{M}\p{So}\p{Sc}%]")


def is_mark(word: str) -> bool:
    """Return whether a word has no character but punctuation."""
    return _CONTENT.search(word) is None


def is_light(word: str) -> bool:
    """Return whether a word is a function word or a punctuation mark."""
    return is_mark(word) or word.casefold().replace("’", "'") in FUNCTION_WORDS
