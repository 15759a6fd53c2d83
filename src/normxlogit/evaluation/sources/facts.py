"""What the questions of the synthetic set are made of, in two parts that share nothing.

What is fitted or chosen may see the part "fit"; figures are of the part "test". Of a relation the
first text is a sentence that states it, the second a question that asks for it.
"""

from dataclasses import dataclass

PARTS = ("fit", "test")


@dataclass(frozen=True)
class Relation:
    """A fact about something named.

    Attributes:
        statement: a sentence with {name} and {value}.
        question: a question with {name}, whose answer is the value.
        values: what the value may be.
    """

    statement: str
    question: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """The material of one part.

    Attributes:
        first, last: the names of people.
        places: the names of what is not a person, for each kind of it.
        of_people: relations of people.
        of_places: relations of each of `places`.
        numbers: relations whose values are numbers, by kind of what they are about.
        kin: who a person's relatives are.
        knowledge: questions that need no document, with their answers.
    """

    first: tuple[str, ...]
    last: tuple[str, ...]
    places: dict[str, tuple[str, ...]]
    of_people: tuple[Relation, ...]
    of_places: dict[str, tuple[Relation, ...]]
    numbers: dict[str, tuple[Relation, ...]]
    kin: tuple[str, ...]
    knowledge: tuple[tuple[str, str], ...]


PEOPLE = "people"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


def _count(least: int, most: int) -> tuple[str, ...]:
    return tuple(map(str, range(least, most + 1)))


_FIT = Part(
    first=_words(
        "Anna, Boris, Clara, David, Elena, Felix, Greta, Hugo, Irene, Jonas, Karin, Lukas, Maria, "
        "Nikolas, Olga, Peter, Rosa, Simon, Teresa, Viktor"
    ),
    last=_words(
        "Abel, Berg, Costa, Duval, Egger, Foster, Grant, Holm, Ivers, Jansen, Keller, Lange, "
        "Moreno, Novak, Olsen, Parker, Quinn, Rossi, Stone, Turner"
    ),
    places={
        "ship": _words(
            "Albatross, Sea Pearl, Coral Queen, Dolphin, Evening Star, Fortune, Golden Hind, "
            "Horizon, Duke of York, Kingfisher, Lady Anne, Morning Glory"
        ),
        "shop": _words(
            "Bell & Sons, Corner House, Dayton's, First Choice, Garden Gate, Hill Brothers, "
            "Lucky Penny, Market Hall, Old Mill, Lantern, Silver Spoon, Tall Ladder"
        ),
    },
    of_people=(
        Relation(
            "{name} works as a {value}.",
            "What is the job of {name}?",
            _words("baker, carpenter, dentist, farmer, gardener, lawyer, nurse, pilot, tailor"),
        ),
        Relation(
            "{name} lives in {value}.",
            "In which city does {name} live?",
            _words("Paris, Madrid, Dublin, Oslo, Vienna, Lisbon, Prague, Athens, Boston, Chicago"),
        ),
        Relation(
            "{name} has a pet {value}.",
            "Which pet does {name} have?",
            _words("rabbit, parrot, hamster, turtle, snake, lizard, goldfish, pony, ferret"),
        ),
        Relation(
            "{name} likes to eat {value}.",
            "What does {name} like to eat?",
            _words("pizza, soup, pancakes, noodles, salad, cheese, dumplings, sausages, beans"),
        ),
        Relation(
            "{name} plays the {value}.",
            "Which instrument does {name} play?",
            _words("piano, violin, guitar, trumpet, flute, drums, harp, cello, clarinet"),
        ),
        Relation(
            "The front door of {name} is painted {value}.",
            "Which colour is the front door of {name}?",
            _words("red, blue, green, yellow, white, black, purple, orange, pink"),
        ),
        Relation(
            "At home {name} speaks {value}.",
            "Which language does {name} speak at home?",
            _words("German, Polish, Greek, Turkish, Arabic, Russian, Korean, Italian, Dutch"),
        ),
    ),
    of_places={
        "ship": (
            Relation(
                "The ship {name} carries {value}.",
                "What does the ship {name} carry?",
                _words("coal, bananas, cars, grain, timber, cotton, steel, sugar, salt"),
            ),
            Relation(
                "The captain of the ship {name} comes from {value}.",
                "Where does the captain of the ship {name} come from?",
                _words("Norway, Brazil, Canada, India, Chile, Japan, Kenya, Spain, Wales"),
            ),
        ),
        "shop": (
            Relation(
                "The shop {name} sells {value}.",
                "What does the shop {name} sell?",
                _words("shoes, books, clocks, hats, lamps, toys, carpets, tea, bicycles"),
            ),
            Relation(
                "The shop {name} is closed on {value}.",
                "On which day is the shop {name} closed?",
                _words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
            ),
        ),
    },
    numbers={
        PEOPLE: (
            Relation("{name} is {value} years old.", "How old is {name}?", _count(21, 89)),
            Relation(
                "{name} owns {value} books.", "How many books does {name} own?", _count(31, 890)
            ),
        ),
        "ship": (
            Relation(
                "The ship {name} is {value} metres long.",
                "How many metres long is the ship {name}?",
                _count(41, 380),
            ),
        ),
    },
    kin=("sister", "neighbour", "teacher"),
    knowledge=(
        ("What is the capital of France?", "Paris"),
        ("What is the capital of Italy?", "Rome"),
        ("What is the capital of Japan?", "Tokyo"),
        ("What is the capital of Germany?", "Berlin"),
        ("How many days are there in a week?", "seven|7"),
        ("How many legs does a spider have?", "eight|8"),
        ("Which planet is the closest to the sun?", "Mercury"),
        ("What is the opposite of hot?", "cold"),
        ("What is the opposite of big?", "small|little"),
        ("What do bees make?", "honey"),
        ("Which gas do plants take in from the air?", "carbon dioxide|CO2"),
        ("Which ocean lies between Europe and America?", "Atlantic"),
        ("How many minutes are there in an hour?", "sixty|60"),
        ("What is the freezing point of water in degrees Celsius?", "zero|0"),
        ("Which animal is called man's best friend?", "dog"),
        ("Which season comes after winter?", "spring"),
        ("Which metal has the chemical symbol Fe?", "iron"),
        ("Who wrote the play Romeo and Juliet?", "Shakespeare"),
        ("How many sides does a triangle have?", "three|3"),
        ("What is the name of the galaxy that we live in?", "Milky Way"),
    ),
)

_TEST = Part(
    first=_words(
        "Albert, Bianca, Conrad, Diana, Edgar, Fiona, Gustav, Helen, Ivan, Julia, Kurt, Laura, "
        "Martin, Nora, Oscar, Paula, Robert, Sophie, Thomas, Ursula"
    ),
    last=_words(
        "Archer, Becker, Carter, Dalton, Eriksen, Fischer, Garcia, Hansen, Ingram, Jordan, Kovacs, "
        "Lopez, Meyer, Nielsen, Ortega, Porter, Reed, Sato, Walker, Young"
    ),
    places={
        "village": _words(
            "Ashford, Brackwell, Cold Norton, Dunmore, Eastvale, Fernhill, Glenbrook, Hartley, "
            "Kingswood, Longmoor, Millbrook, Northgate, Oakham, Redcliff"
        ),
        "hotel": _words(
            "Astoria, Belvedere, Continental, Diplomat, Excelsior, Florida, Grand Palace, "
            "Imperial, Majestic, Panorama, Regent, Sunrise, Victoria, Waldorf"
        ),
    },
    of_people=(
        Relation(
            "{name} was born in {value}.",
            "In which country was {name} born?",
            _words("Peru, Egypt, Iceland, Mexico, Finland, Cuba, Portugal, Thailand, Morocco"),
        ),
        Relation(
            "Every week {name} trains for {value}.",
            "Which sport does {name} train for?",
            _words("tennis, boxing, rowing, chess, hockey, fencing, archery, swimming, golf"),
        ),
        Relation(
            "In the garden of {name} there is a {value} tree.",
            "Which tree is there in the garden of {name}?",
            _words("cherry, lemon, walnut, maple, willow, fig, pear, beech, palm"),
        ),
        Relation(
            "The boat of {name} is made of {value}.",
            "What is the boat of {name} made of?",
            _words("plastic, bamboo, aluminium, rubber, wood, leather, glass, paper, iron"),
        ),
        Relation(
            "{name} teaches {value} at the evening school.",
            "Which subject does {name} teach at the evening school?",
            _words("history, physics, drawing, algebra, biology, cooking, law, dancing, poetry"),
        ),
        Relation(
            "{name} goes to the office by {value}.",
            "How does {name} go to the office?",
            _words("bus, train, bicycle, tram, taxi, ferry, motorcycle, scooter, helicopter"),
        ),
        Relation(
            "For the wedding {name} received a {value}.",
            "What did {name} receive for the wedding?",
            _words("clock, vase, camera, mirror, blanket, necklace, kettle, telescope, suitcase"),
        ),
        Relation(
            "{name} is afraid of {value}.",
            "What is {name} afraid of?",
            _words("spiders, thunder, heights, ghosts, needles, clowns, wolves, darkness, fire"),
        ),
    ),
    of_places={
        "village": (
            Relation(
                "The village {name} is known for its {value}.",
                "What is the village {name} known for?",
                _words("wine, pottery, apples, church, castle, windmill, cider, silk, marble"),
            ),
            Relation(
                "The market of the village {name} is held in {value}.",
                "In which month is the market of the village {name} held?",
                _words("January, March, April, June, July, August, October, November, December"),
            ),
        ),
        "hotel": (
            Relation(
                "The hotel {name} belongs to a {value}.",
                "To whom does the hotel {name} belong?",
                _words("banker, singer, doctor, prince, widow, painter, senator, colonel, judge"),
            ),
            Relation(
                "On the roof of the hotel {name} there is a {value}.",
                "What is there on the roof of the hotel {name}?",
                _words("pool, bar, terrace, cinema, flag, chapel, statue, greenhouse, library"),
            ),
        ),
    },
    numbers={
        PEOPLE: (
            Relation(
                "{name} has won {value} medals.",
                "How many medals has {name} won?",
                _count(11, 95),
            ),
            Relation(
                "The farm of {name} has {value} sheep.",
                "How many sheep does the farm of {name} have?",
                _count(31, 890),
            ),
        ),
        "village": (
            Relation(
                "The village {name} has {value} inhabitants.",
                "How many inhabitants does the village {name} have?",
                _count(101, 990),
            ),
        ),
        "hotel": (
            Relation(
                "The hotel {name} has {value} rooms.",
                "How many rooms does the hotel {name} have?",
                _count(21, 480),
            ),
        ),
    },
    kin=("brother", "cousin", "boss"),
    knowledge=(
        ("What is the capital of England?", "London"),
        ("What is the capital of Spain?", "Madrid"),
        ("What is the capital of Russia?", "Moscow"),
        ("What is the capital of China?", "Beijing"),
        ("What is the capital of Greece?", "Athens"),
        ("What is the capital of Austria?", "Vienna"),
        ("What is the capital of Ireland?", "Dublin"),
        ("How many months are there in a year?", "twelve|12"),
        ("How many hours are there in a day?", "twenty-four|24"),
        ("How many seconds are there in a minute?", "sixty|60"),
        ("Which planet is the largest in the solar system?", "Jupiter"),
        ("Which planet is known as the Red Planet?", "Mars"),
        ("What is the opposite of up?", "down"),
        ("What is the opposite of day?", "night"),
        ("What is the opposite of black?", "white"),
        ("What do cows give us to drink?", "milk"),
        ("Which gas do humans need to breathe?", "oxygen"),
        ("What is the chemical symbol of water?", "H2O"),
        ("Which season comes after summer?", "autumn|fall"),
        ("Which language is spoken in Brazil?", "Portuguese"),
        ("Who painted the Mona Lisa?", "Leonardo|da Vinci"),
        ("Which is the largest ocean on Earth?", "Pacific"),
        ("How many sides does a square have?", "four|4"),
        ("What is the star at the centre of the solar system?", "Sun"),
        ("What colour do you get when you mix blue and yellow?", "green"),
        ("Which animal is known as the king of the jungle?", "lion"),
        ("What is frozen water called?", "ice"),
        ("On which continent is Egypt?", "Africa"),
    ),
)

FACTS = {"fit": _FIT, "test": _TEST}
