"""Facts of the simple world, each with one right answer: `Fact("sound", "cow", "moo", "A cow says moo.")`.

Every kind of fact is a small table from subject to answer, plus one sentence
pattern in `REPLIES` that turns a row of the table into a reply.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One fact: its kind, what is asked about, the bare answer, and the canonical reply."""

    kind: str
    subject: str
    answer: str
    reply: str


def with_article(noun: str) -> str:
    """`noun` after the right article: "an owl", "a cow" (it looks at the first letter only)."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def capitalised(text: str) -> str:
    """`text` with a capital first letter and the rest left alone."""
    return text[:1].upper() + text[1:]


def table(rows: str) -> dict[str, str]:
    """A dict from rows such as "cow: moo, dog: woof"; a subject given twice is an error."""
    pairs = [tuple(part.strip() for part in row.split(":")) for row in rows.replace("\n", " ").split(",")]
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a subject occurs twice in " + rows[:40])
    return result


# fmt: off
NUMBERS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]
# fmt: on
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def following(items: list[str] | str, step: int, around: bool) -> dict[str, str]:
    """Each item to the one `step` places on; the ends meet if `around`, else they are left out."""
    count = len(items)
    return {
        item: items[(place + step) % count] for place, item in enumerate(items) if around or 0 <= place + step < count
    }


TABLES: dict[str, dict[str, str]] = {
    "sound": table("""
        cow: moo, dog: woof, cat: meow, sheep: baa, duck: quack, pig: oink, horse: neigh, hen: cluck,
        rooster: cock-a-doodle-doo, owl: hoot, mouse: squeak, lion: roar, bee: buzz, snake: hiss,
        frog: ribbit, crow: caw, bird: tweet, turkey: gobble, donkey: hee-haw, goose: honk,
        chick: cheep, pigeon: coo"""),
    "home": table("""
        bee: hive, ant: anthill, bird: nest, spider: web, dog: kennel, horse: stable, pig: pigsty,
        rabbit: burrow, bear: den, cow: barn, hen: coop, beaver: lodge, snail: shell, bat: cave,
        sheep: pen, termite: mound"""),
    "baby": table("""
        cat: kitten, dog: puppy, cow: calf, horse: foal, sheep: lamb, pig: piglet, hen: chick,
        duck: duckling, goose: gosling, goat: kid, bear: cub, lion: cub, tiger: cub, frog: tadpole,
        deer: fawn, kangaroo: joey, koala: joey, owl: owlet, swan: cygnet, eagle: eaglet, seal: pup,
        wolf: pup, elephant: calf, whale: calf, giraffe: calf, zebra: foal, donkey: foal,
        spider: spiderling, butterfly: caterpillar"""),
    "legs": table("""
        dog: four, cat: four, cow: four, horse: four, sheep: four, pig: four, lion: four, mouse: four,
        elephant: four, frog: four, rabbit: four, turtle: four, bird: two, duck: two, hen: two,
        owl: two, penguin: two, person: two, bee: six, ant: six, fly: six, butterfly: six,
        beetle: six, spider: eight, scorpion: eight, snake: no, worm: no, fish: no, whale: no, snail: no"""),
    "colour": table("""
        a banana: yellow, a lemon: yellow, the sun: yellow, butter: yellow, a sunflower: yellow,
        grass: green, a pea: green, a cucumber: green, a frog: green, spinach: green, broccoli: green,
        an emerald: green, the sky: blue, the sea: blue, a blueberry: blue, snow: white, milk: white,
        salt: white, a swan: white, a polar bear: white, cotton: white, coal: black, a crow: black,
        the night: black, a tomato: red, a strawberry: red, a cherry: red, blood: red,
        a fire truck: red, a ruby: red, a carrot: orange, an orange: orange, a pumpkin: orange,
        a pig: pink, a flamingo: pink, chocolate: brown, mud: brown, a tree trunk: brown,
        an elephant: gray, a mouse: gray"""),
    "opposite": table("""
        hot: cold, cold: hot, big: small, small: big, up: down, down: up, in: out, out: in, on: off,
        off: on, day: night, night: day, happy: sad, sad: happy, good: bad, bad: good, fast: slow,
        slow: fast, open: closed, closed: open, full: empty, empty: full, wet: dry, dry: wet,
        clean: dirty, dirty: clean, loud: quiet, quiet: loud, long: short, tall: short, young: old,
        new: old, soft: hard, easy: difficult, difficult: easy, heavy: light, dark: light,
        left: right, wrong: right, strong: weak, weak: strong, rich: poor, poor: rich, thick: thin,
        thin: thick, wide: narrow, narrow: wide, deep: shallow, shallow: deep, high: low, low: high,
        near: far, far: near, early: late, late: early, first: last, last: first, yes: no, no: yes,
        true: false, false: true, black: white, white: black, always: never, never: always,
        push: pull, pull: push, give: take, win: lose, lose: win, start: stop, stop: start,
        love: hate, hate: love, asleep: awake, awake: asleep, alive: dead, dead: alive, top: bottom,
        bottom: top, inside: outside, outside: inside, above: below, below: above, before: after,
        after: before, north: south, south: north, east: west, west: east, summer: winter,
        winter: summer, friend: enemy, enemy: friend, question: answer, more: less, less: more,
        most: least, least: most, rough: smooth, smooth: rough, sharp: blunt,
        safe: dangerous, dangerous: safe, polite: rude, rude: polite, beautiful: ugly, ugly: beautiful,
        over: under, under: over,
        with: without, without: with, morning: evening, evening: morning, buy: sell,
        sell: buy, remember: forget, forget: remember, laugh: cry, cry: laugh"""),
    "sum": {
        f"{NUMBERS[one]} plus {NUMBERS[two]}": NUMBERS[one + two] for one in range(1, 10) for two in range(1, 11 - one)
    },
    "capital": table("""
        France: Paris, Germany: Berlin, Italy: Rome, Spain: Madrid, Portugal: Lisbon, England: London,
        Scotland: Edinburgh, Wales: Cardiff, Ireland: Dublin, Austria: Vienna, Belgium: Brussels,
        the Netherlands: Amsterdam, Denmark: Copenhagen, Sweden: Stockholm, Norway: Oslo,
        Finland: Helsinki, Iceland: Reykjavik, Poland: Warsaw, Hungary: Budapest, Greece: Athens,
        Turkey: Ankara, Russia: Moscow, Ukraine: Kyiv, Romania: Bucharest, Bulgaria: Sofia,
        Croatia: Zagreb, Serbia: Belgrade, Slovenia: Ljubljana, Slovakia: Bratislava,
        Estonia: Tallinn, Latvia: Riga, Lithuania: Vilnius, Egypt: Cairo, Kenya: Nairobi,
        Morocco: Rabat, Ghana: Accra, Ethiopia: Addis Ababa, China: Beijing, Japan: Tokyo,
        India: New Delhi, Thailand: Bangkok, Vietnam: Hanoi, South Korea: Seoul, Nepal: Kathmandu,
        Canada: Ottawa, Mexico: Mexico City, Cuba: Havana, Brazil: Brasilia, Argentina: Buenos Aires,
        Peru: Lima, Australia: Canberra, New Zealand: Wellington"""),
    "number_after": following(NUMBERS[1:], 1, around=False),
    "number_before": following(NUMBERS[1:], -1, around=False),
    "letter_after": following(LETTERS, 1, around=False),
    "day_after": following(DAYS, 1, around=True),
    "day_before": following(DAYS, -1, around=True),
    "month_after": following(MONTHS, 1, around=True),
    "month_before": following(MONTHS, -1, around=True),
    "maker": table("""
        baker: bread, painter: paintings, tailor: clothes, shoemaker: shoes, carpenter: furniture,
        potter: pots, writer: books, poet: poems, blacksmith: horseshoes, jeweler: jewelry,
        hatter: hats, composer: music, sculptor: statues, cheesemaker: cheese, beekeeper: honey,
        candlemaker: candles, weaver: cloth, watchmaker: watches, clockmaker: clocks,
        builder: houses, photographer: photos, toymaker: toys, cook: meals"""),
    "workplace": table("""
        teacher: in a school, doctor: in a hospital, farmer: on a farm, pilot: in a plane,
        sailor: on a ship, chef: in a kitchen, librarian: in a library, actor: in a theater,
        gardener: in a garden, waiter: in a restaurant, judge: in a court, miner: in a mine,
        scientist: in a laboratory, zookeeper: in a zoo, mechanic: in a garage,
        firefighter: in a fire station, clown: in a circus, shopkeeper: in a shop,
        astronaut: in a spaceship, lifeguard: on a beach"""),
    "origin": table("""
        milk: a cow, an egg: a hen, honey: bees, wool: a sheep, silk: a silkworm, ham: a pig,
        beef: a cow, an acorn: an oak tree, a feather: a bird, a pearl: an oyster, flour: wheat,
        butter: milk, cheese: milk, cream: milk, bread: flour, olive oil: olives,
        chocolate: cocoa beans, coffee: coffee beans, popcorn: corn, apple juice: apples,
        orange juice: oranges, lemonade: lemons, ketchup: tomatoes, oatmeal: oats,
        a plum: a plum tree, a peach: a peach tree, a pear: a pear tree, a coconut: a palm tree,
        wood: trees, rain: clouds, sunlight: the sun"""),
    "plural": table("""
        mouse: mice, child: children, foot: feet, tooth: teeth, goose: geese, man: men, woman: women,
        sheep: sheep, deer: deer, person: people, ox: oxen, leaf: leaves, wolf: wolves,
        knife: knives, life: lives, shelf: shelves, loaf: loaves, half: halves, baby: babies,
        city: cities, story: stories, fly: flies, berry: berries, puppy: puppies, party: parties,
        cherry: cherries, box: boxes, fox: foxes, bus: buses, dish: dishes, watch: watches,
        brush: brushes, glass: glasses, peach: peaches, potato: potatoes, tomato: tomatoes,
        hero: heroes, dog: dogs, cat: cats, book: books, tree: trees, bird: birds, apple: apples,
        house: houses, boy: boys, day: days, egg: eggs, owl: owls"""),
    "material": table("""
        a window: glass, a mirror: glass, a light bulb: glass, a book: paper, a newspaper: paper,
        a postcard: paper, a tire: rubber, an eraser: rubber, a snowman: snow, an igloo: snow,
        a sandcastle: sand, a coin: metal, a nail: metal, a key: metal, a candle: wax,
        a sweater: wool, a brick: clay, a log: wood, a raft: wood, a tree house: wood,
        a horseshoe: iron, a puddle: water, toast: bread, an omelet: eggs, jam: fruit"""),
    "tool": table("""
        cut paper: scissors, cut bread: a knife, eat soup: a spoon, hit a nail: a hammer,
        cut wood: a saw, brush your teeth: a toothbrush, comb your hair: a comb, open a lock: a key,
        sweep the floor: a broom, dig a hole: a shovel, write a letter: a pen, draw a line: a ruler,
        tell the time: a clock, catch a fish: a fishing rod, stay dry in the rain: an umbrella,
        sew a button: a needle, climb onto a roof: a ladder, take a photo: a camera,
        see the stars: a telescope, drink tea: a cup, light a candle: a match,
        wash your hands: soap, dry your hands: a towel, paint a picture: a brush,
        find north: a compass, chop down a tree: an axe, iron a shirt: an iron"""),
    "past": table("""
        go: went, see: saw, eat: ate, run: ran, come: came, take: took, give: gave, make: made,
        say: said, think: thought, buy: bought, bring: brought, catch: caught, teach: taught,
        find: found, get: got, have: had, do: did, know: knew, grow: grew, fly: flew, draw: drew,
        write: wrote, drive: drove, ride: rode, sing: sang, swim: swam, drink: drank, begin: began,
        sit: sat, stand: stood, sleep: slept, keep: kept, feel: felt, leave: left, meet: met,
        lose: lost, send: sent, build: built, break: broke, speak: spoke, fall: fell, tell: told,
        sell: sold, hear: heard, win: won, play: played, jump: jumped, walk: walked, help: helped,
        look: looked, love: loved, bake: baked, cry: cried, stop: stopped"""),
    "sort": table("""
        rose: flower, tulip: flower, daisy: flower, oak: tree, pine: tree, apple: fruit,
        banana: fruit, pear: fruit, carrot: vegetable, onion: vegetable, cabbage: vegetable,
        hammer: tool, saw: tool, piano: musical instrument, guitar: musical instrument,
        violin: musical instrument, drum: musical instrument, car: vehicle, truck: vehicle,
        eagle: bird, robin: bird, owl: bird, ant: insect, bee: insect, beetle: insect, salmon: fish,
        shark: fish, doll: toy, teddy bear: toy, circle: shape, square: shape, triangle: shape"""),
}

REPLIES: dict[str, str] = {
    "sound": "{a_subject} says {answer}.",
    "home": "{a_subject} lives in {a_answer}.",
    "baby": "A baby {subject} is called {a_answer}.",
    "legs": "{a_subject} has {answer} legs.",
    "colour": "{subject} is {answer}.",
    "opposite": "The opposite of {subject} is {answer}.",
    "sum": "{subject} is {answer}.",
    "capital": "The capital of {subject} is {answer}.",
    "number_after": "The number after {subject} is {answer}.",
    "number_before": "The number before {subject} is {answer}.",
    "letter_after": "The letter after {subject} is {answer}.",
    "day_after": "The day after {subject} is {answer}.",
    "day_before": "The day before {subject} is {answer}.",
    "month_after": "The month after {subject} is {answer}.",
    "month_before": "The month before {subject} is {answer}.",
    "maker": "{a_subject} makes {answer}.",
    "workplace": "{a_subject} works {answer}.",
    "origin": "{subject} comes from {answer}.",
    "plural": "The plural of {subject} is {answer}.",
    "material": "{subject} is made of {answer}.",
    "tool": "You use {answer} to {subject}.",
    "past": "The past tense of {subject} is {answer}.",
    "sort": "{a_subject} is {a_answer}.",
}

_LEADING = ("in a ", "on a ", "a ", "an ", "the ")


def _bare(answer: str) -> str:
    """`answer` without a leading "a", "the" or "in a"."""
    for words in _LEADING:
        if answer.startswith(words):
            return answer[len(words) :]
    return answer


def _fact(kind: str, subject: str, answer: str) -> Fact:
    """The fact of one table row, its reply written out."""
    reply = REPLIES[kind].format(
        subject=subject,
        a_subject=with_article(subject),
        answer=answer,
        a_answer=with_article(answer),
    )
    return Fact(kind, subject, _bare(answer), capitalised(reply))


FACTS: tuple[Fact, ...] = tuple(
    _fact(kind, subject, answer) for kind, rows in TABLES.items() for subject, answer in rows.items()
)
