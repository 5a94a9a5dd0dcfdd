"""The words the simulated Claude knows: what a noun's records hold, what a verb does to them.

Data only, and the few rules of English needed to inflect it; `lexicon` reads prompts with it.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_NOUN_CHARS = 14  # longer unknown words are not taken for nouns; keeps generated lines short
MAX_VERB_CHARS = 12


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a record. `kind`: text (required), note (optional text), email, number (0 or
    more), count (1 or more), reference (id of a record of `refers`), computed (by the service)."""

    name: str
    kind: str = "text"
    refers: str = ""

    @property
    def label(self) -> str:
        return self.name.removesuffix("_id").replace("_", " ").capitalize()

    @property
    def is_input(self) -> bool:
        """Whether a person gives it, on a form or a command line."""
        return self.kind != "computed"


@dataclass(frozen=True, slots=True)
class Noun:
    """What is known of a kind of record; `states` are verbs it has when the prompt names none."""

    singular: str
    fields: tuple[Field, ...]
    example: str
    states: tuple[str, ...] = ()


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for tables that are easier to read as one."""
    return frozenset(text.split())


def _noun(singular: str, example: str, fields: str = "title", states: str = "") -> Noun:
    """Fields are written `name[:kind]`, or `name:reference:noun`, separated by spaces."""
    parsed = (Field(*(part.replace("+", " ") for part in f.split(":"))) for f in fields.split())
    return Noun(singular, tuple(parsed), example, tuple(states.split()))


_KNOWN = (
    _noun("todo", "Buy milk", states="complete"),
    _noun("task", "Write the report", "title notes:note", "complete"),
    _noun("note", "Ideas for spring", "title text:note"),
    _noun("book", "Dune", "title author:note"),
    _noun("author", "Ursula Le Guin", "name biography:note"),
    _noun("post", "Hello, world", "title body:note", "publish"),
    _noun("article", "Why tests pay", "title body:note", "publish"),
    _noun("comment", "Well said", "text post_id:reference:post", "approve"),
    _noun("user", "Ada Lovelace", "name email:email"),
    _noun("customer", "Grace Hopper", "name email:email"),
    _noun("member", "Alan Turing", "name email:email"),
    _noun("employee", "Edsger Dijkstra", "name email:email"),
    _noun("student", "Emmy Noether", "name email:email"),
    _noun("patient", "Rosa Parks", "name email:email"),
    _noun("contact", "Katherine Johnson", "name email:email notes:note"),
    _noun("message", "Ada Lovelace", "name email:email text:note"),
    _noun("product", "Blue mug", "name price_cents:number"),
    _noun("cart item", "1", "product_id:reference:product quantity:count"),
    _noun("order", "Ada Lovelace", "customer notes:note", "pay"),
    _noun("category", "Kitchen", "name"),
    _noun("review", "Works as it should", "text rating:count"),
    _noun("invoice", "Acme Ltd", "customer amount_cents:number", "pay"),
    _noun("expense", "Train ticket", "title amount_cents:number"),
    _noun("payment", "Rent", "title amount_cents:number"),
    _noun("transaction", "Groceries", "title amount_cents:number"),
    _noun("recipe", "Lentil soup", "title ingredients:note"),
    _noun("ingredient", "Red lentils", "name"),
    _noun("meal", "Sunday lunch", "title"),
    _noun("event", "Summer party", "title place:note"),
    _noun("appointment", "Dentist", "title place:note", "cancel"),
    _noun("booking", "Ada Lovelace", "name room:note", "cancel"),
    _noun("reservation", "Table for two", "name", "cancel"),
    _noun("project", "New website", "name notes:note", "archive"),
    _noun("ticket", "Login fails", "title notes:note", "close"),
    _noun("bug", "Wrong total", "title notes:note", "close"),
    _noun("issue", "Slow search", "title notes:note", "close"),
    _noun("bookmark", "Python manual", "title address:note"),
    _noun("link", "Python manual", "title address:note"),
    _noun("photo", "Harbour at dawn", "title place:note"),
    _noun("video", "First steps", "title address:note"),
    _noun("song", "So What", "title artist:note"),
    _noun("album", "Kind of Blue", "title artist:note"),
    _noun("movie", "Metropolis", "title director:note", "watch"),
    _noun("film", "Metropolis", "title director:note", "watch"),
    _noun("game", "Go", "title"),
    _noun("habit", "Read ten pages", "title", "complete"),
    _noun("goal", "Run five miles", "title", "complete"),
    _noun("workout", "Morning run", "title minutes:count"),
    _noun("course", "Linear algebra", "title teacher:note"),
    _noun("lesson", "Vectors", "title"),
    _noun("quiz", "Capitals", "title"),
    _noun("question", "What is a vector", "text answer:note"),
    _noun("poll", "Where to have lunch", "title", "close"),
    _noun("vote", "The harbour cafe", "choice"),
    _noun("job", "Gardener", "title place:note", "close"),
    _noun("car", "Red estate", "name"),
    _noun("pet", "Tabby", "name"),
    _noun("plant", "Basil", "name place:note", "water"),
    _noun("room", "Blue room", "name seats:count"),
    _noun("flashcard", "Guten Tag", "front back:note", "learn"),
    _noun("tag", "urgent", "name"),
    _noun("item", "First item", "name notes:note"),
)

NOUNS = {noun.singular: noun for noun in _KNOWN}

# Words that mean a known noun. A landing page's contact form takes messages.
SYNONYMS = {
    "to-do": "todo",
    "cart": "cart item",
    "basket": "cart item",
    "checkout": "order",
    "purchase": "order",
    "person": "user",
    "account": "user",
    "client": "customer",
    "memo": "note",
    "reminder": "todo",
    "chore": "task",
}

# What a product is called says what it holds, when the prompt says nothing else.
PRODUCTS = {
    "blog": ("post",),
    "shop": ("product", "cart item", "order"),
    "e-commerce": ("product", "cart item", "order"),
    "ecommerce": ("product", "cart item", "order"),
    "library": ("book",),
    "forum": ("post", "comment"),
    "crm": ("customer",),
    "wiki": ("article",),
    "helpdesk": ("ticket",),
    "cookbook": ("recipe",),
    "chat": ("message",),
}
SHOPS = frozenset({"shop", "e-commerce", "ecommerce"})

IMPERATIVES = word_set(
    "build make write develop implement design generate program code produce craft"
)
CREATE = word_set("add create submit post send insert register record enter")
REMOVE = word_set("delete remove erase drop discard")
EDIT = word_set("update edit rename change modify")
SEARCH = word_set("search find filter")
STATES = word_set("""
    complete finish archive publish approve pay close cancel star pin ship deliver confirm
    accept reject resolve assign schedule favorite favourite like flag mark lock unlock enable
    disable activate deactivate start stop borrow return rate subscribe follow verify sign hide
    unpublish unarchive reopen water watch learn refund check uncheck pause resume""")
# The second takes back what the first did.
OPPOSITES = {
    "reopen": "close",
    "disable": "enable",
    "deactivate": "activate",
    "return": "borrow",
    "resume": "pause",
    "stop": "start",
}
# Nouns as often as verbs: verbs only in the company of verbs.
AMBIGUOUS = word_set("""
    post record check star like rate flag book note comment review order work test import email
    class tag plan start water watch ship pin return change filter vote link""")
VERBS = CREATE | REMOVE | EDIT | SEARCH | STATES

# Never a noun of the project's: words about products, technology, people's wishes, and glue.
OTHER_WORDS = word_set("""
    a about above across after again all also an and any anything app apps application
    applications api apis are as asap at back backend based basic be beautiful been best big but by
    can catalog catalogue clean cli client-side cloud collection command complex console container
    could css dashboard data database decent desktop do does done each easy effect elegant every
    everything fast feature features file files for form forms fresh friendly from front frontend
    full full-stack fullstack function functional get give gives go good great handle has have
    help here high how html http i if in include includes including interface into is it its
    javascript just keep kind landing language large let lets like line list lists little load look
    made manage managed management manager manages managing many me mini minimal mobile modern more
    most much must my need needs new nice no non not of off offers on one online only or
    organize other our own page pages please platform platforms portal product-ready production
    professional project-wide proper python quick quickly react real really rest responsive run
    saas same scalable script see self service services several show should simple single site
    sites small so software solution some something stack support supports system systems take than
    that the their them then there these they thing things this those through to too tool tools
    track tracker tracking tracks two ui until up us use used uses using ux very via view
    want wants was way we web webapp webpage website websites well what when where which while who
    will with within without work works would write writing you your display read crud
    contact-form real-time realtime able admin ability allow allows tiny world hello""")

_IRREGULAR = {
    "pay": "paid",
    "send": "sent",
    "find": "found",
    "read": "read",
    "buy": "bought",
    "sell": "sold",
    "do": "done",
    "hide": "hidden",
    "give": "given",
    "take": "taken",
    "write": "written",
    "win": "won",
    "lose": "lost",
    "begin": "begun",
    "break": "broken",
    "bring": "brought",
    "choose": "chosen",
    "draw": "drawn",
    "drive": "driven",
    "eat": "eaten",
    "freeze": "frozen",
    "grow": "grown",
    "hold": "held",
    "keep": "kept",
    "leave": "left",
    "lend": "lent",
    "make": "made",
    "meet": "met",
    "put": "put",
    "reset": "reset",
    "set": "set",
    "split": "split",
    "spend": "spent",
    "tell": "told",
    "wear": "worn",
    "withdraw": "withdrawn",
    "build": "built",
    "cancel": "cancelled",
    "submit": "submitted",
}
_IRREGULAR_PLURALS = {
    "person": "people",
    "child": "children",
    "man": "men",
    "woman": "women",
    "mouse": "mice",
    "quiz": "quizzes",
    "leaf": "leaves",
    "shelf": "shelves",
    "movie": "movies",
    "cookie": "cookies",
    "series": "series",
    "news": "news",
    "photo": "photos",
    "video": "videos",
    "todo": "todos",
}
_SINGULARS = {plural: singular for singular, plural in _IRREGULAR_PLURALS.items()}
_VOWELS = "aeiou"


def participle(verb: str) -> str:
    """The past participle: complete -> completed, pay -> paid, ship -> shipped."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2:-1] not in _VOWELS:
        return verb[:-1] + "ied"
    return verb + (verb[-1] if _doubles(verb) else "") + "ed"


def _doubles(verb: str) -> bool:
    """Whether a one-syllable verb doubles its last letter: stop, ship, pin."""
    vowels = [c for c in verb if c in _VOWELS]
    return (
        len(verb) > 2
        and len(vowels) == 1
        and verb[-2] in _VOWELS
        and verb[-1] not in _VOWELS + "wxy"
    )


def plural(noun: str) -> str:
    """category -> categories, box -> boxes, cart item -> cart items."""
    if noun in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[noun]
    if noun.endswith("y") and noun[-2:-1] not in _VOWELS:
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")


def singular(word: str) -> str:
    """The inverse of `plural`, as far as a word's ending tells."""
    if word in _SINGULARS:
        return _SINGULARS[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def with_article(phrase: str) -> str:
    """a todo, an item, a user."""
    uses_a = phrase[:1] not in _VOWELS or phrase.startswith(("use", "uni", "one"))
    return f"{'a' if uses_a else 'an'} {phrase}"
